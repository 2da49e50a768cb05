"""What an operator can set about a controller, with the defaults, in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rekindle.exception import InvalidError
from rekindle.wire import whole_numbers

MIB = 1024 * 1024

#: What gRPC lets through at all; the payload limit below it gives the clear error.
MAX_MESSAGE_BYTES = 256 * MIB


#: Of any setting: what scripts in Redis can count to.
_MOST = 1 << 53


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and waits. Seconds and bytes.

    Each is read from the variable of its name: ``reap_s`` from ``REKINDLE_REAP_S``.
    """

    #: The largest arguments of one input, and the largest result.
    max_payload_bytes: int = 128 * MIB
    #: How long results of submitted calls are kept.
    result_ttl_s: int = 7 * 24 * 3600
    #: How long the result of a call that was waited for is kept.
    invoke_result_ttl_s: int = 600
    #: An ephemeral app that no one holds is closed after this.
    hold_grace_s: float = 10.0
    #: A deployment that is not live yet is dropped this long after its program has gone.
    deploy_grace_s: float = 2.0
    #: A deployment waits so long for an agent that is expected back, to be tried there.
    deploy_agent_s: float = 30.0
    #: Closing an app waits so long for exit hooks and snapshots.
    close_grace_s: float = 60.0
    #: An agent whose connection broke may come back within this.
    agent_grace_s: float = 5.0
    #: An agent that sends nothing for so long is taken for lost.
    agent_silence_s: float = 30.0
    #: Inputs that wait so long for any agent make a line in their app's log.
    no_agent_s: float = 5.0
    #: A request waits so long for a Redis that is away.
    redis_patience_s: float = 30.0
    #: An input whose runner dies is placed so often.
    max_deliveries: int = 5
    #: The wait before the third delivery; it doubles with each, up to a minute. The second one is
    #: made at once.
    crash_backoff_s: float = 1.0
    #: An agent may have an input without saying so for startup_timeout, timeout and this.
    lease_margin_s: float = 60.0
    #: How often leases are looked at.
    reap_s: float = 15.0
    #: A call that is waited for is cancelled when its caller hung up and is not back within this.
    caller_grace_s: float = 30.0
    #: Undone inputs of one function; more are refused.
    max_pending: int = 1_000_000
    #: Calls of one function that are waited for; more are refused.
    max_waiting: int = 2_000
    #: Requests that are on their way to Redis; more are refused.
    max_accepting_bytes: int = 512 * MIB
    #: About so many inputs of a function that were given up are kept.
    dead_letters: int = 10_000
    #: Inputs that an agent may hold beyond its runners.
    agent_prefetch: int = 8
    #: About so many log lines are kept for an app.
    log_lines: int = 10_000
    #: Undone inputs of one function in the controller's memory; the others wait on the stream.
    held_inputs: int = 8192
    #: The same as a limit on their payloads.
    held_bytes: int = 64 * MIB
    #: So many functions have metrics of their own; the others are counted together.
    metrics_functions: int = 200

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings from the environment.

        Raises InvalidError, naming the variable, for a value that is not a positive number.
        """
        env = os.environ if environ is None else environ
        values: dict[str, Any] = asdict(cls())
        for name, default in values.items():
            values[name] = _positive(env, f"REKINDLE_{name.upper()}", default)
        return cls(**values)


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    """The number that a variable holds, of the type of its default."""
    text = env.get(name, "")
    if not text:
        return default
    try:
        value: float = type(default)(text)
    except ValueError:
        value = -1
    if not 0 < value <= _MOST:  # nor one that is no number at all
        raise InvalidError(f"{name}={text!r} is not a positive number; unset it for {default}")
    return value


def parse_address(text: str, what: str = "REKINDLE_METRICS=") -> tuple[str, int]:
    """Host and port of ``host:port``, ``:port`` or ``port``; IPv6 in brackets.

    Without a host: this machine alone. Raises InvalidError.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    number = whole_numbers.parsed(port)
    if number is None or number > 65535:
        raise InvalidError(
            f"{what}{text!r} is no address to listen on; write host:port, as in 127.0.0.1:9464"
        )
    return host, number


def over_limit(what: str, limit: int, variable: str) -> str:
    """The message of a request that is refused because there is too much of something already."""
    return (
        f"{what}, the limit is {limit:,}; wait until some are done and send the request again, or "
        f"raise {variable} where the controller is started"
    )
