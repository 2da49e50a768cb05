"""The texts of limits that a request or a result went over."""

from __future__ import annotations

from rekindle.controller.settings import MIB


def payload_too_large(what: str, size: int, limit: int) -> str:
    """The message of a payload over the limit, with how to raise it."""
    return (
        f"{what} is {size / MIB:.1f} MiB, over the limit of {limit / MIB:.1f} MiB "
        f"({size} > {limit} bytes); pass large data by file, or raise "
        "REKINDLE_MAX_PAYLOAD_BYTES where the controller is started"
    )


def over_limit(what: str, limit: int, variable: str) -> str:
    """The message of a request that is refused because there is too much of something already."""
    return (
        f"{what}, the limit is {limit:,}; wait until some are done and send the request again, or "
        f"raise {variable} where the controller is started"
    )
