"""What goes into calls: argument tuples from the user's iterators, and their pickles."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rekindle.exception import InvalidError, RequestSizeError
from rekindle.wire.serialization import serialize_input, serialize_scalars

if TYPE_CHECKING:
    from rekindle.sdk.function import Function

#: No message can be larger; a controller's own limit, below it, gives its own error.
MAX_PAYLOAD_BYTES = 240 * 1024 * 1024


def packed(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], index: int = -1
) -> bytes:
    """The payload of one input.

    Raises SerializationError that names the argument, RequestSizeError when it is too large.
    """
    payload = serialize_scalars(args, kwargs)
    if payload is not None and len(payload) <= MAX_PAYLOAD_BYTES:
        return payload  # without a text that is for errors alone
    which = f", input {index}," if index >= 0 else ""
    payload = payload or serialize_input(args, kwargs, f"an argument of {function.name}(){which}")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RequestSizeError(
            f"the arguments of {function.name}(){which} take {len(payload) / (1 << 20):.0f} MiB, "
            f"more than {MAX_PAYLOAD_BYTES >> 20} MiB; write them to a file that the function "
            f"reads, or split them over several inputs"
        )
    return payload


def zipped(function: Function[..., Any], iterators: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Argument tuples of ``map(a, b)``. Raises InvalidError for what cannot be iterated."""
    _check_iterators(function, "map", iterators, (Iterable,))
    return zip(*iterators, strict=False)


def zipped_aio(
    function: Function[..., Any], iterators: tuple[Any, ...]
) -> AsyncIterator[tuple[Any, ...]]:
    """The same; iterators may be async."""
    _check_iterators(function, "map.aio", iterators, (Iterable, AsyncIterable))
    return _zip_async([_as_async(iterator) for iterator in iterators])


def starred(function: Function[..., Any], iterator: Any) -> Iterator[tuple[Any, ...]]:
    """Argument tuples of ``starmap(iterator)``."""
    _check_iterators(function, "starmap", (iterator,), (Iterable,))
    return (tuple(args) for args in iterator)


def starred_aio(function: Function[..., Any], iterator: Any) -> AsyncIterator[tuple[Any, ...]]:
    """The same; the iterator may be async."""
    _check_iterators(function, "starmap.aio", (iterator,), (Iterable, AsyncIterable))

    async def tuples() -> AsyncIterator[tuple[Any, ...]]:
        async for args in _as_async(iterator):
            yield tuple(args)

    return tuples()


def _check_iterators(
    function: Function[..., Any], what: str, iterators: tuple[Any, ...], kinds: tuple[type, ...]
) -> None:
    if not iterators:
        raise InvalidError(f"{function.name}.{what}() needs at least one iterator")
    for i, iterator in enumerate(iterators):
        if isinstance(iterator, kinds):
            continue
        if isinstance(iterator, AsyncIterable):
            raise InvalidError(
                f"{function.name}.{what}(): argument {i} is an async iterator; use {what}.aio()"
            )
        raise InvalidError(
            f"{function.name}.{what}(): argument {i} is a {type(iterator).__name__}, which cannot "
            f"be iterated; values that are the same for all inputs go into kwargs="
        )


async def _as_async(iterator: Any) -> AsyncIterator[Any]:
    if isinstance(iterator, AsyncIterable):
        async for item in iterator:
            yield item
    else:
        for item in iterator:
            yield item


async def _zip_async(iterators: list[AsyncIterator[Any]]) -> AsyncIterator[tuple[Any, ...]]:
    while True:
        items = []
        for iterator in iterators:
            try:
                items.append(await anext(iterator))
            except StopAsyncIteration:
                return
        yield tuple(items)
