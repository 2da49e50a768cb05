"""The machine's own apt, asked for packages of any release from the machine's own mirror.

With an apt root of our own: one release, one keyring, nothing installed. apt verifies the release's
signature and every package's hash. Standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from rekindle.counted import counted
from rekindle.exception import SetupError
from rekindle.linux import programs

#: ``progress(step, done, total)``: ``step`` in words, then a count or bytes (0, 0 where unknown).
Progress = Callable[[str, int, int], None]

TOOLS = ("apt-get", "apt-config", "dpkg-deb")

_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_TIMEOUT_S = 600.0
_SUITES = ("stable", "oldstable", "testing", "unstable", "sid")


class Package(NamedTuple):
    """One package file that apt would fetch; its size in bytes."""

    name: str
    size: int


def machine_keyring(otherwise: str) -> Path:
    """The keys of Debian's releases. ``otherwise`` ends errors: what can be done instead.

    Raises SetupError.
    """
    for path in _KEYRINGS:
        if path.exists():
            return path
    raise SetupError(
        f"no Debian keyring at {_KEYRINGS[0]}: install the package debian-archive-keyring, "
        f"{otherwise}"
    )


def mirror(release: str, otherwise: str) -> str:
    """URI of the Debian mirror that this machine's apt uses for its own release.

    Raises SetupError when its configuration names none.
    """
    listing = run(
        [
            "apt-get",
            "indextargets",
            "--option=APT::Get::IndexTargets::ReleaseInfo=false",  # also what was never fetched
            "--format",
            "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CREATED_BY)",
        ],
        "asking apt for its mirrors",
        otherwise,
    )
    found = choose_mirror(listing.splitlines(), _codename(), release)
    if found is None:
        raise SetupError(
            "this machine's apt is configured for no Debian mirror: add one to "
            f"/etc/apt/sources.list, {otherwise}"
        )
    return found


def choose_mirror(lines: Iterable[str], codename: str, release: str) -> str | None:
    """The repository that carries ``main`` of the machine's own release, else of any release.

    ``lines`` are ``URI|release|component|kind``. Security and updates repositories do not carry
    whole releases, CD-ROMs carry no other release, and neither do others' repositories.
    """
    candidates: list[tuple[bool, str]] = []
    for line in lines:
        uri, found, component, _kind = line.split("|")
        suite = found.partition("/")[0]
        if component != "main" or uri.startswith("cdrom:"):
            continue
        if re.search(r"-(updates|security|backports|proposed)", suite) or "/" in found:
            continue
        if suite in (codename, release, *_SUITES):
            candidates.append((suite != codename, uri))
    return min(candidates)[1] if candidates else None


def reach(otherwise: str) -> list[str]:
    """Lines of apt.conf: how the machine reaches its mirrors (proxies and such)."""
    settings = run(["apt-config", "dump"], "reading apt's configuration", otherwise)
    return [line for line in settings.splitlines() if line.startswith("Acquire::")]


def proxies(otherwise: str) -> list[str]:
    """Of these lines the ones that a root made on this machine needs, too."""
    kept = ("Acquire::http::", "Acquire::https::")
    return [line for line in reach(otherwise) if line.startswith(kept) and '""' not in line]


def _codename() -> str:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^VERSION_CODENAME="?([\w-]+)', text, flags=re.MULTILINE)
    return found[1] if found else ""


def run(
    argv: list[str],
    doing: str,
    otherwise: str,
    cwd: Path | None = None,
    extra_environment: dict[str, str] | None = None,
) -> str:
    """What a program prints. Raises SetupError with what it was ``doing``, and what it said."""
    try:
        env = {**os.environ, "LC_ALL": "C", **(extra_environment or {})}
        done = programs.run(argv, _TIMEOUT_S, env=env, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise SetupError(f"{doing}: no end after {_TIMEOUT_S:g} s; try again") from None
    except OSError as error:
        raise SetupError(f"{doing}: cannot run {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise SetupError(
            f"{doing} failed: {_said(done.stderr + done.stdout)}; try again, {otherwise}"
        )
    return done.stdout


def _said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    worst = [line for line in lines if re.match(r"(E|Err|W):|.*(NO_PUBKEY|signature)", line)]
    return " / ".join(dict.fromkeys(worst or lines[-3:]))[:1000] or "no output"


class Apt:
    """apt that knows one release, one keyring and no installed package."""

    def __init__(self, root: Path, keyring: Path, release: str, otherwise: str) -> None:
        self.root = root
        self.keyring = keyring
        self.release = release
        self._otherwise = otherwise
        root.chmod(0o755)  # as root, apt downloads as a user of its own
        for directory in ("lists/partial", "cache/archives/partial", "debs"):
            (root / directory).mkdir(parents=True)
        (root / "apt.conf").write_text(self._settings())
        self.environment = {"APT_CONFIG": str(root / "apt.conf")}

    def _settings(self) -> str:
        """How the machine reaches its mirrors, and nothing else of its own."""
        settings = {
            "Dir::Etc::Parts": "/dev/null",
            "Dir::Etc::Main": "/dev/null",
            "Dir::Etc::SourceList": self.root / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State::Lists": self.root / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::State::Extended_States": self.root / "extended_states",
            "Dir::Cache": self.root / "cache",
            "APT::Install-Recommends": "false",
            "APT::Update::Error-Mode": "any",
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # Whatever the machine allows itself: no package here goes unverified.
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
        }
        ours = [f'{name} "{value}";' for name, value in settings.items()]
        return "\n".join([*reach(self._otherwise), *ours, ""])

    def update(self, uri: str) -> None:
        """Fetch the release's index; its signature must verify."""
        (self.root / "sources.list").write_text(
            f"deb [signed-by={self.keyring}] {uri} {self.release} main\n"
        )
        self._get(["update"], f"reading the index of Debian {self.release} from {uri}")

    def closure(self, wanted: tuple[str, ...]) -> list[Package]:
        """The wanted packages and all that they need to run."""
        listing = self._get(
            ["--yes", "--print-uris", "install", *wanted],
            f"resolving what {' '.join(wanted)} needs",
        )
        return parse_uris(listing.splitlines())

    def download(self, names: list[str], known: list[Package], progress: Progress) -> list[Path]:
        """Fetch package files and verify their hashes; in the order in which to unpack them."""
        target = self.root / "debs"
        total = sum(package.size for package in known)
        progress("fetching packages", 0, total)
        self._get(["download", *names], f"fetching {counted(len(names), 'package')}", cwd=target)
        progress("fetching packages", total, total)
        return sorted(target.glob("*.deb"))

    def _get(self, arguments: list[str], doing: str, cwd: Path | None = None) -> str:
        argv = ["apt-get", "--quiet", *arguments]
        return run(argv, doing, self._otherwise, cwd, self.environment)


def parse_uris(lines: Iterable[str]) -> list[Package]:
    """Packages of ``apt-get --print-uris``: lines of ``'URI' file-name size hash``."""
    found = (re.match(r"'[^']+' ([^\s_]+)\S* (\d+)", line) for line in lines)
    return [Package(one[1], int(one[2])) for one in found if one]
