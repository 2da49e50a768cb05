"""What goes into calls: argument tuples from the user's iterators, and their pickles."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any

from rekindle.exception import InvalidError, RequestSizeError, a_or_an
from rekindle.wire.serialization import serialize_input, serialize_scalars

#: No message can be larger; a controller's own limit, below it, gives its own error.
MAX_PAYLOAD_BYTES = 240 * 1024 * 1024


def packed(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], index: int = -1) -> bytes:
    """The payload of one input of the function called ``name``.

    Raises SerializationError that names the argument, RequestSizeError when it is too large.
    """
    payload = serialize_scalars(args, kwargs)
    if payload is not None and len(payload) <= MAX_PAYLOAD_BYTES:
        return payload  # without a text that is for errors alone
    which = f", input {index}," if index >= 0 else ""
    payload = payload or serialize_input(args, kwargs, f"an argument of {name}(){which}")
    return within_limit(payload, f"{name}(){which}")


def within_limit(payload: bytes, which: str) -> bytes:
    """The payload of ``which``. Raises RequestSizeError."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RequestSizeError(
            f"the arguments of {which} take {len(payload) / (1 << 20):.0f} MiB, "
            f"more than {MAX_PAYLOAD_BYTES >> 20} MiB; write them to a file that the function "
            f"reads, or split them over several inputs"
        )
    return payload


def zipped(
    name: str, iterators: tuple[Any, ...], *, blocks: bool, what: str = "map"
) -> AsyncIterator[Any]:
    """Argument tuples of ``map(a, b)``, or ``what`` it is, of the function called ``name``.

    ``blocks``: for a caller that blocks, so none of the iterators may be async. Raises InvalidError
    for what cannot be iterated.
    """
    _check_iterators(name, what, iterators, blocks)
    if any(isinstance(iterator, AsyncIterable) for iterator in iterators):
        return _zip_async([_as_async(iterator) for iterator in iterators])
    return _as_async(zip(*iterators, strict=False))


def starred(name: str, iterator: Any, *, blocks: bool) -> AsyncIterator[Any]:
    """Argument tuples of ``starmap(iterator)``; as ``zipped``."""
    _check_iterators(name, "starmap", (iterator,), blocks)

    def arguments(item: Any) -> tuple[Any, ...]:
        if not isinstance(item, Iterable):
            raise InvalidError(
                f"{name}.starmap(): {item!r:.60} is {a_or_an(type(item))}, not the arguments of "
                f"an input: give tuples, or use map() where each input has one argument"
            )
        return tuple(item)

    return _as_async(iterator, arguments)


def _check_iterators(name: str, what: str, iterators: tuple[Any, ...], blocks: bool) -> None:
    if not blocks:
        what += ".aio"
    if not iterators:
        raise InvalidError(f"{name}.{what}() needs at least one iterator")
    for i, iterator in enumerate(iterators):
        if isinstance(iterator, Iterable) or (not blocks and isinstance(iterator, AsyncIterable)):
            continue
        if isinstance(iterator, AsyncIterable):
            raise InvalidError(
                f"{name}.{what}(): argument {i} is an async iterator; use {what}.aio()"
            )
        raise InvalidError(
            f"{name}.{what}(): argument {i} is {a_or_an(type(iterator))}, which cannot "
            f"be iterated; values that are the same for all inputs go into kwargs="
        )


async def _as_async(
    iterator: Any, make: Callable[[Any], Any] | None = None
) -> AsyncGenerator[Any, None]:
    if isinstance(iterator, AsyncIterable):
        async for item in iterator:
            yield item if make is None else make(item)
    else:
        for item in iterator:
            yield item if make is None else make(item)


async def _zip_async(iterators: list[AsyncIterator[Any]]) -> AsyncIterator[tuple[Any, ...]]:
    while True:
        items = []
        for iterator in iterators:
            try:
                items.append(await anext(iterator))
            except StopAsyncIteration:
                return
        yield tuple(items)
