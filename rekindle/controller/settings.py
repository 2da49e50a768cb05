"""What an operator can set about a controller, with the defaults, in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from rekindle.exception import InvalidError

MIB = 1024 * 1024

#: What gRPC lets through at all; the payload limit below it gives the clear error.
MAX_MESSAGE_BYTES = 256 * MIB


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and waits. Seconds and bytes; each is read from the variable named beside it."""

    #: REKINDLE_MAX_PAYLOAD_BYTES: the largest arguments of one input, and the largest result.
    max_payload_bytes: int = 128 * MIB
    #: REKINDLE_RESULT_TTL_S: how long results of submitted calls are kept.
    result_ttl_s: int = 7 * 24 * 3600
    #: REKINDLE_INVOKE_RESULT_TTL_S: how long the result of a call that was waited for is kept.
    invoke_ttl_s: int = 600
    #: REKINDLE_HOLD_GRACE_S: an ephemeral app that nobody holds is closed after this.
    hold_grace_s: float = 10.0
    #: REKINDLE_CLOSE_GRACE_S: closing an app waits so long for exit hooks and snapshots.
    close_grace_s: float = 60.0
    #: REKINDLE_AGENT_GRACE_S: an agent whose connection broke may come back within this.
    agent_grace_s: float = 5.0
    #: REKINDLE_AGENT_SILENCE_S: an agent that sends nothing for so long is taken for lost.
    agent_silence_s: float = 30.0
    #: REKINDLE_NO_AGENT_S: inputs that wait so long for any agent make a line in their app's log.
    no_agent_s: float = 5.0
    #: REKINDLE_REDIS_PATIENCE_S: a request waits so long for a Redis that is away.
    redis_patience_s: float = 30.0
    #: REKINDLE_MAX_DELIVERIES: an input whose runner dies is placed so often.
    max_deliveries: int = 5
    #: REKINDLE_CRASH_BACKOFF_S: the wait before the third delivery; it doubles with each, up to a
    #: minute. The second one is made at once.
    crash_backoff_s: float = 1.0
    #: REKINDLE_LEASE_MARGIN_S: an agent may have an input without saying so for startup_timeout,
    #: timeout and this.
    lease_margin_s: float = 60.0
    #: REKINDLE_REAP_S: how often leases are looked at.
    reap_s: float = 15.0
    #: REKINDLE_CALLER_GRACE_S: a call that is waited for is cancelled when its caller hung up and
    #: is not back within this.
    caller_grace_s: float = 30.0
    #: REKINDLE_MAX_PENDING: undone inputs of one function; more are refused.
    max_pending: int = 1_000_000
    #: REKINDLE_MAX_WAITING: calls of one function that are waited for; more are refused.
    max_waiting: int = 2_000
    #: REKINDLE_MAX_ACCEPTING_BYTES: requests that are on their way to Redis; more are refused.
    max_accepting_bytes: int = 512 * MIB
    #: REKINDLE_DEAD_LETTERS: about so many inputs of a function that were given up are kept.
    dead_letters: int = 10_000
    #: REKINDLE_AGENT_PREFETCH: inputs that an agent may hold beyond its runners.
    agent_prefetch: int = 8
    #: REKINDLE_LOG_LINES: about so many log lines are kept for an app.
    log_lines: int = 10_000
    #: REKINDLE_HELD_INPUTS: undone inputs of one function in the controller's memory; the others
    #: wait on the stream.
    held_inputs: int = 8192
    #: REKINDLE_HELD_BYTES: the same as a limit on their payloads.
    held_bytes: int = 64 * MIB

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings from the environment.

        Raises InvalidError, naming the variable, for a value that is not a positive number.
        """
        env = os.environ if environ is None else environ

        def integer(name: str, default: int) -> int:
            return int(_number(env, name, default, int))

        def seconds(name: str, default: float) -> float:
            return _number(env, name, default, float)

        base = cls()
        return cls(
            max_payload_bytes=integer("REKINDLE_MAX_PAYLOAD_BYTES", base.max_payload_bytes),
            result_ttl_s=integer("REKINDLE_RESULT_TTL_S", base.result_ttl_s),
            invoke_ttl_s=integer("REKINDLE_INVOKE_RESULT_TTL_S", base.invoke_ttl_s),
            hold_grace_s=seconds("REKINDLE_HOLD_GRACE_S", base.hold_grace_s),
            close_grace_s=seconds("REKINDLE_CLOSE_GRACE_S", base.close_grace_s),
            agent_grace_s=seconds("REKINDLE_AGENT_GRACE_S", base.agent_grace_s),
            agent_silence_s=seconds("REKINDLE_AGENT_SILENCE_S", base.agent_silence_s),
            no_agent_s=seconds("REKINDLE_NO_AGENT_S", base.no_agent_s),
            redis_patience_s=seconds("REKINDLE_REDIS_PATIENCE_S", base.redis_patience_s),
            max_deliveries=integer("REKINDLE_MAX_DELIVERIES", base.max_deliveries),
            crash_backoff_s=seconds("REKINDLE_CRASH_BACKOFF_S", base.crash_backoff_s),
            lease_margin_s=seconds("REKINDLE_LEASE_MARGIN_S", base.lease_margin_s),
            reap_s=seconds("REKINDLE_REAP_S", base.reap_s),
            caller_grace_s=seconds("REKINDLE_CALLER_GRACE_S", base.caller_grace_s),
            max_pending=integer("REKINDLE_MAX_PENDING", base.max_pending),
            max_waiting=integer("REKINDLE_MAX_WAITING", base.max_waiting),
            max_accepting_bytes=integer("REKINDLE_MAX_ACCEPTING_BYTES", base.max_accepting_bytes),
            dead_letters=integer("REKINDLE_DEAD_LETTERS", base.dead_letters),
            agent_prefetch=integer("REKINDLE_AGENT_PREFETCH", base.agent_prefetch),
            log_lines=integer("REKINDLE_LOG_LINES", base.log_lines),
            held_inputs=integer("REKINDLE_HELD_INPUTS", base.held_inputs),
            held_bytes=integer("REKINDLE_HELD_BYTES", base.held_bytes),
        )


def _number(
    env: Mapping[str, str], name: str, default: float, kind: type[int] | type[float]
) -> float:
    text = env.get(name)
    if text is None or text == "":
        return default
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if value <= 0:
        raise InvalidError(f"{name}={text!r} is not a positive number; unset it for {default}")
    return value


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
