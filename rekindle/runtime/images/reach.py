"""How the node reaches package indexes, for commands in a sandbox: proxies, certificates, settings
of pip, uv and apt, and the local folders that these name.

What it comes to is shown to a step while it runs, and is in no layer.
"""

from __future__ import annotations

import configparser
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

from rekindle.debian import apt
from rekindle.runtime.images.inside import RUN

#: (place on the node, place in the root, whether it is read-only)
Bind = tuple[str, str, bool]

_PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_PIP_KEYS = (
    *("index-url", "extra-index-url", "find-links", "constraint", "trusted-host", "timeout"),
    *("default-timeout", "no-index", "proxy", "cert"),
)
_PATHS = ("index-url", "extra-index-url", "find-links", "constraint")
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
#: Where uv gets Pythons from, and how often it asks there again.
_PYTHONS_OF_UV = ("UV_PYTHON_INSTALL_MIRROR", "UV_PYTHON_DOWNLOADS_JSON_URL", "UV_HTTP_RETRIES")
_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


@dataclass
class Reach:
    """Variables and mounts of a step."""

    env: dict[str, str] = field(default_factory=dict)
    binds: list[Bind] = field(default_factory=list)


def of_node(scratch: Path) -> Reach:
    """What a step is given; files that it needs are written to ``scratch``."""
    found = Reach()
    found.env |= {k: v for k, v in os.environ.items() if k.lower() in _PROXIES}
    found.env |= {k: v for k, v in os.environ.items() if k in _PYTHONS_OF_UV}
    settings = pip_settings()
    bundle = settings.pop("cert", "") or os.environ.get("SSL_CERT_FILE", "")
    if bundle and Path(bundle).is_file():
        place = f"{RUN}/certificates.crt"
        found.binds.append((os.path.realpath(bundle), place, True))
        found.env |= dict.fromkeys(_CERTIFICATES, place)
    for key, value in settings.items():
        found.env[f"PIP_{key.upper().replace('-', '_')}"] = value
        if key in _UV:
            # uv wants commas where there are several places, except of a constraint.
            found.env[_UV[key]] = value if key == "constraint" else ",".join(value.split())
    if "UV_INDEX" in found.env:
        found.env["UV_INDEX"] = found.env["UV_INDEX"].replace(",", " ")
        found.env["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip looks at all of them, too
    named = " ".join(settings.get(key, "") for key in _PATHS).split()
    found.binds += [(str(one), str(one), True) for one in local_places(named)]
    resolv = Path("/etc/resolv.conf")
    if resolv.is_file():
        found.binds.append((os.path.realpath(resolv), "/etc/resolv.conf", True))
    if Path("/etc/hosts").is_file():
        found.binds.append(("/etc/hosts", "/etc/hosts", True))
    if shutil.which("apt-config"):
        conf = scratch / "apt.conf"
        conf.write_text("\n".join([*apt.proxies(""), 'Acquire::Retries "3";', ""]))
        found.binds.append((str(conf), f"{RUN}/apt.conf", True))
        found.env["APT_CONFIG"] = f"{RUN}/apt.conf"
    return found


def pip_settings() -> dict[str, str]:
    """What pip is set to on this node: by files, each over those before it, and by variables."""
    found: dict[str, str] = {}
    for name in (*_PIP_FILES, f"{sys.prefix}/pip.conf", os.environ.get("PIP_CONFIG_FILE", "")):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read([os.path.expanduser(name)] if name else [], encoding="utf-8")
        except (OSError, ValueError, configparser.Error):
            continue  # pip itself says what is wrong with it
        for section in ("global", "install"):
            if parser.has_section(section):
                given = parser.items(section)
                found |= {k: " ".join(v.split()) for k, v in given if k in _PIP_KEYS}
    for key in _PIP_KEYS:
        value = os.environ.get(f"PIP_{key.upper().replace('-', '_')}")
        if value:
            found[key] = value
    return found


def local_places(named: Iterable[str]) -> list[Path]:
    """Folders and files of this node among words of pip's settings."""
    places = set()
    for word in named:
        url = urlparse(word)
        path = Path(url.path)
        if url.scheme in ("", "file") and path.is_absolute() and path.exists():
            # The pages of an index point at files beside it.
            places.add(path.parent if path.name == "simple" else path)
    return sorted(places)
