"""A generator of the user's in a runner: run to its end, each item sent as it is yielded.

Whatever ends it, it is closed: its ``finally`` runs. Where its reader is gone the
call is cancelled as well, which does not interrupt that. Knows nothing of how items travel.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

from rekindle.exception import InvalidError, a_or_an
from rekindle.forkserver import forking
from rekindle.runtime.runner.service import Service
from rekindle.wire.direct_stream import ItemWriter, ReaderGoneError
from rekindle.wire.phases import now_ns
from rekindle.wire.shared import Packed

#: Pickles one item. Raises what the caller is to get.
Pack = Callable[[Any], Packed]


def run(
    service: Service,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    writer: ItemWriter,
    pack: Pack,
) -> None:
    """Send what the generator yields; where nobody reads any more, close it and return.

    Raises what the user's code raises, and InvalidError for what gives no items.
    """
    made = service.start(method, args, kwargs)
    with suppress(ReaderGoneError):
        if isinstance(made, AsyncIterator):
            service.settle(_send_async(service, made, writer, pack))
            return
        _send(service, iterator_of(made, service.what(method)), writer, pack)


def iterator_of(made: Any, what: str) -> Iterator[Any]:
    """The items that a function gave. Raises InvalidError for what gives none."""
    try:
        return iter(made)
    except TypeError:
        raise InvalidError(
            f"{what} is called as a generator and gave {a_or_an(type(made))}, which cannot be "
            f"iterated: leave is_generator=True out and call it with .remote(), or have it return "
            f"an iterator"
        ) from None


async def close_aio(items: AsyncIterator[Any]) -> None:
    """Close an async generator, where it is one."""
    if (close := getattr(items, "aclose", None)) is not None:
        await close()


def _send(service: Service, items: Iterator[Any], writer: ItemWriter, pack: Pack) -> None:
    try:
        for item in items:
            forking.end_users_child()
            at_ns = now_ns()
            writer.send(pack(item), at_ns)
    except ReaderGoneError:
        service.ends_by_itself()
        raise
    finally:
        if (close := getattr(items, "close", None)) is not None:
            close()


async def _send_async(
    service: Service, items: AsyncIterator[Any], writer: ItemWriter, pack: Pack
) -> None:
    try:
        async for item in items:
            forking.end_users_child()
            at_ns = now_ns()
            await writer.send_aio(pack(item), at_ns)
    except ReaderGoneError:
        service.ends_by_itself()
        raise
    finally:
        await close_aio(items)
