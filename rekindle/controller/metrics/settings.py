"""What an operator can set about metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from rekindle.exception import InvalidError


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """Each is read from the variable named with it."""

    #: REKINDLE_METRICS_FUNCTIONS: so many functions have series of their own; the others are
    #: counted together.
    functions: int = 200
    #: REKINDLE_METRICS: ``host:port`` where they are served over HTTP; nowhere when it is empty.
    listen: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> MetricsSettings:
        """Settings from the environment. Raises InvalidError, naming the variable."""
        env = os.environ if environ is None else environ
        text = env.get("REKINDLE_METRICS_FUNCTIONS", "") or str(cls.functions)
        if not text.isdigit() or int(text) < 1:
            raise InvalidError(
                f"REKINDLE_METRICS_FUNCTIONS={text!r} is not a positive whole number; "
                f"unset it for {cls.functions}"
            )
        return cls(functions=int(text), listen=env.get("REKINDLE_METRICS", "").strip())


def parse_address(text: str, what: str = "REKINDLE_METRICS=") -> tuple[str, int]:
    """Host and port of ``host:port``, ``:port`` or ``port``; IPv6 in brackets.

    Without a host: this machine alone. Raises InvalidError.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or int(port) > 65535:
        raise InvalidError(
            f"{what}{text!r} is no address to listen on; write host:port, as in 127.0.0.1:9464"
        )
    return host, int(port)
