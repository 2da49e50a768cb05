"""What ``volumes={path: volume}`` may be, and CloudBucketMount. Standard library only."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import InvalidError, a_or_an
from rekindle.sdk import checks
from rekindle.sdk.environments import meant_by
from rekindle.sdk.user_frames import trims
from rekindle.sdk.volume import Volume
from rekindle.wire.images import TAKEN

#: Programs need what is here of the system; a volume can be below them.
_OF_SYSTEM = ("/", "/run", "/tmp", "/etc", "/usr", "/bin", "/lib", "/lib64")
_STORES = "s3://, gs://, abfs:// and others of fsspec"


@trims
@dataclass(frozen=True)
class CloudBucketMount:
    """A bucket, or a folder of one, in ``volumes=``: this machine's copy of it.

    ``bucket_name``: of an S3 bucket, or an fsspec URL (``gs://bucket``). ``bucket_endpoint_url``:
    of an S3-compatible store. ``key_prefix``: the folder. What runners write is sent every few
    seconds and when they have ended, unless ``read_only``; what others wrote is there at the next
    start.
    The store's client takes its credentials from the environment that the instance was started
    with. Raises InvalidError for what cannot be here: ``secret``, ``oidc_auth_role_arn`` and
    ``requester_pays``.
    """

    bucket_name: str
    bucket_endpoint_url: str | None = None
    key_prefix: str | None = None
    secret: Any = None
    oidc_auth_role_arn: str | None = None
    read_only: bool = False
    requester_pays: bool = False
    force_path_style: bool = False
    url: str = field(init=False, default="")

    def __post_init__(self) -> None:
        for name in ("read_only", "requester_pays", "force_path_style"):
            checks.flag(f"CloudBucketMount({name})", getattr(self, name))
        for name in ("bucket_endpoint_url", "key_prefix"):
            if not isinstance(given := getattr(self, name), str | None):
                raise InvalidError(f"CloudBucketMount({name}={given!r}) must be a text")
        if self.secret is not None or self.oidc_auth_role_arn is not None:
            raise InvalidError(
                "CloudBucketMount(secret=, oidc_auth_role_arn=): the node makes the copy, with the "
                "credentials in the environment of the instance; start that (`rekindle up`) with "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the store's client asks for"
            )
        if self.requester_pays:
            raise InvalidError(
                "CloudBucketMount(requester_pays=True) is not possible; read such a bucket with "
                "its own client in the function"
            )
        if not isinstance(self.bucket_name, str) or not self.bucket_name.strip("/"):
            raise InvalidError(f"CloudBucketMount: the name of a bucket is missing ({_STORES})")
        named = self.bucket_name
        base = named if "://" in named else f"s3://{named}"
        url = "/".join([base.rstrip("/"), *[p for p in [(self.key_prefix or "").strip("/")] if p]])
        object.__setattr__(self, "url", url)

    @property
    def options(self) -> dict[str, str]:
        """For the store's client."""
        return {"endpoint_url": self.bucket_endpoint_url} if self.bucket_endpoint_url else {}


Mountable = Volume | CloudBucketMount


def check_volumes(parameter: str, given: object) -> dict[str, Mountable]:
    """Paths and what is there, each path in its plain form. Raises InvalidError."""
    if not isinstance(given, Mapping):
        raise InvalidError(
            f"{parameter}={given!r} must be a dict of paths to volumes, "
            f"for example {{'/data': rekindle.Volume.from_name('my-volume')}}"
        )
    found: dict[str, Mountable] = {}
    for path, volume in given.items():
        place = _checked_path(parameter, path)
        if not isinstance(volume, (Volume, CloudBucketMount)):
            raise InvalidError(
                f"{parameter}: at {place} is {a_or_an(type(volume))}; give a rekindle.Volume or "
                f"a rekindle.CloudBucketMount"
            )
        if place in found:
            raise InvalidError(f"{parameter}: {place} is given twice")
        found[place] = volume
    check_together(parameter, found)
    return found


def check_together(parameter: str, found: Mapping[str, Mountable]) -> None:
    """Raises InvalidError for a volume at two paths, and for a path inside of another."""
    places: dict[object, str] = {}
    for path, volume in found.items():
        which = volume._reference if isinstance(volume, Volume) else volume.url
        key: object = which
        if not isinstance(which, str):
            key = which.id or (meant_by(which.environment), which.name)
        if key in places:
            raise InvalidError(
                f"{parameter}: {volume!r} is at {places[key]} and at {path}; a volume can be "
                f"at one path of a function"
            )
        places[key] = path
        for other in found:
            if other != path and f"{path}/".startswith(f"{other}/"):
                raise InvalidError(f"{parameter}: {path} lies inside of {other}")


def _checked_path(parameter: str, path: object) -> str:
    text = str(path)
    plain = posixpath.normpath(text)
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise InvalidError(f"{parameter}: {text!r} must be an absolute path without `..`")
    place = f"/{plain.lstrip('/')}"
    if place in _OF_SYSTEM or any(f"{place}/".startswith(f"{one}/") for one in TAKEN):
        raise InvalidError(f"{parameter}: nothing can be mounted at {text!r}; name another path")
    return place
