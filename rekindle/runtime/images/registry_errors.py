"""What skopeo says of an image that it cannot fetch: what to do then. Text in, text out."""

from __future__ import annotations

import re

_UNREACHABLE = (
    "the registry cannot be reached from here: see to the network and its proxy (HTTPS_PROXY), or "
    "save the image where it can be (skopeo copy {image} oci-archive:FILE, or docker save) and "
    "give oci-archive:FILE or docker-archive:FILE"
)
_NO_TLS = (
    "the registry has no TLS: say so on the machine that builds, in "
    "/etc/containers/registries.conf or ~/.config/containers/registries.conf "
    "([[registry]] with its location and insecure = true)"
)
_NOT_TRUSTED = (
    "the registry's certificate is not trusted: put that of its authority, as ca.crt, into "
    "/etc/containers/certs.d/HOST:PORT of the machine that builds"
)
_LOG_IN = (
    "the registry wants a login (docker login, skopeo login) on the machine that builds; some say "
    "so of an image that is not there, too"
)
_CAUSES = (
    (r"no such host|dial tcp|i/o timeout|network is unreachable", _UNREACHABLE),
    (r"does not look like a TLS handshake|HTTP response to HTTPS client", _NO_TLS),
    (r"x509|certificate", _NOT_TRUSTED),
    (r"unauthorized|authentication required|denied", _LOG_IN),
    (r"manifest unknown|name unknown|not found", "the registry has no such image, or no such tag"),
)


def what_to_do(image: str, said: str) -> str:
    """In words, after a colon; "" where it is not known."""
    found = next((words for pattern, words in _CAUSES if re.search(pattern, said)), "")
    return f": {found.format(image=image)}" if found else ""
