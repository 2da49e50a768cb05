"""Environment variables: what a node's own environment passes on, and what one may hold.

Also the environments (name spaces) that names of apps and objects lie in. Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_VIRTUAL = "VIRTUAL_ENV"
#: Variables of the agent's own environment that its runners see; everything else is given by name
#: (``env=``, ``secrets=``), so that nothing private ends up in a snapshot by accident.
PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("LD_LIBRARY_PATH", _VIRTUAL),
    *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS"),
    *("OPENBLAS_NUM_THREADS", "OPENBLAS_THREAD_TIMEOUT", "TOKENIZERS_PARALLELISM"),
    *("NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "http_proxy", "https_proxy"),
)
PASSED_ON_PREFIXES = ("LC_", "XDG_", "HF_")
#: What of it goes into an image too: no paths of the node, and no language that may not be there.
PASSED_INTO_IMAGES = (
    *("TZ", "PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", "TOKENIZERS_PARALLELISM"),
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS"),
    *("OPENBLAS_NUM_THREADS", "OPENBLAS_THREAD_TIMEOUT"),
    *("NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "http_proxy", "https_proxy"),
)
#: What a process of an image has where the image does not say otherwise.
OF_ANY_IMAGE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


#: Where names lie when nothing says otherwise, and the variable that does.
DEFAULT_ENVIRONMENT = "main"
ENVIRONMENT_VARIABLE = "REKINDLE_ENVIRONMENT"
#: Between an environment and a name; no name has it.
_SEPARATOR = "/"


def in_environment(environment: str, name: str) -> str:
    """The name of an app as everybody but its program knows it: bare in the default environment."""
    return name if environment == DEFAULT_ENVIRONMENT else f"{environment}{_SEPARATOR}{name}"


def split_name(known_as: str) -> tuple[str, str]:
    """The inverse: environment and name."""
    environment, separator, name = known_as.partition(_SEPARATOR)
    return (environment, name) if separator else (DEFAULT_ENVIRONMENT, known_as)


#: Characters of a variable that a function is given.
MAX_NAME_LENGTH = 16_384
MAX_VALUE_LENGTH = 32_768


def variable_problem(name: object, value: object) -> str:
    """Why a variable cannot be given to a process, "" where it can. Never shows the value."""
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        return (
            f"{str(name)[:40]!r} cannot be the name of an environment variable "
            f"(a non-empty string without '=' and NUL)"
        )
    if not isinstance(value, str):
        return f"[{name[:40]!r}] must be a string, and its type is {type(value).__name__}"
    if "\0" in value:
        return f"[{name[:40]!r}] must not contain NUL"
    if len(name) > MAX_NAME_LENGTH or len(value) > MAX_VALUE_LENGTH:
        return (
            f"[{name[:40]!r}] is too long: a name may have {MAX_NAME_LENGTH} characters, "
            f"a value {MAX_VALUE_LENGTH}"
        )
    return ""


def passed_on_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The part of an environment, this process's unless another is given, that runners get."""
    return {
        name: value
        for name, value in activated(os.environ if environ is None else environ).items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }


def activated(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment as it is where the virtual environment of this Python was activated.

    Whether it was, before one of its programs was started, so makes no difference to runners. One
    in which another virtual environment was activated stays as it is.
    """
    own = sys.prefix
    if own == sys.base_prefix or environ.get(_VIRTUAL, own) != own:
        return dict(environ)
    programs = os.path.join(own, "bin")
    path = environ.get("PATH", os.defpath)
    if programs not in path.split(os.pathsep):
        path = programs + os.pathsep + path
    return {**environ, _VIRTUAL: own, "PATH": path}
