"""Requests about Dict and Queue as commands of Redis: which script, which keys, which arguments.

Built by hand, since every operation passes here: a request's list of values goes into one argument
as it came. The controller makes commands so, and programs that speak to Redis themselves. Knows
nothing of connections. Standard library only: runners load this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rekindle.exception import RequestSizeError, ResourceExhaustedError
from rekindle.wire import object_keys as names
from rekindle.wire.object_frames import AGAIN, OPTION, Op, Reply, Request, Status
from rekindle.wire.resp import bulk, packed

#: In place of a channel: whoever asks would wait, and stands behind those who wait already.
WOULD_WAIT = b"?"


def _number(value: int) -> bytes:
    return bulk(b"%d" % value)


_FLAG = (bulk(b"0"), bulk(b"1"))


class Target(NamedTuple):
    """What commands about an object have in common: words, as Redis reads them."""

    #: Entries, or partitions.
    main: bytes
    operations: bytes
    #: What keys of answers begin with, no whole word.
    answers: bytes
    waiting: bytes
    #: What keys of items and of states begin with, no whole words.
    items: bytes
    state: bytes


def target(kind: str, object_id: str) -> Target:
    """Of an object."""
    main = names.queue_partitions(object_id)
    if kind == "dict":
        main = names.dict_entries(object_id)
    return Target(
        bulk(main.encode()),
        bulk(names.operations(kind, object_id).encode()),
        names.answer(object_id, "").encode(),
        bulk(names.queue_waiting(object_id).encode()),
        names.queue_items(object_id).encode(),
        names.queue_state(object_id).encode(),
    )


class Caller(NamedTuple):
    """Who asks, and the number of the request: what an answer is kept under."""

    session: bytes
    slot: int
    number: bytes
    #: The channel to be told on where it waits, WOULD_WAIT, or nothing where it does not wait.
    waits: bytes = b""


_Words = list[bytes]


def _change(one: Target, request: Request, caller: Caller) -> _Words:
    """What the keys of a change end with, and its arguments begin with."""
    again, number = _FLAG[request.flags & AGAIN], bulk(caller.number)
    return [one.main, bulk(_answer(one, caller)), again, number]


def _answer(one: Target, caller: Caller) -> bytes:
    return b"%b%b:%d" % (one.answers, caller.session, caller.slot)


def _option(request: Request) -> bytes:
    return _FLAG[bool(request.flags & OPTION)]


def _dict_get(one: Target, request: Request, _: Caller) -> _Words:
    return [one.main, bulk(request.body), _option(request)]


def _dict_put(one: Target, request: Request, caller: Caller) -> _Words:
    return [*_change(one, request, caller), _option(request), bulk(request.packed())]


def _dict_pop(one: Target, request: Request, caller: Caller) -> _Words:
    return [*_change(one, request, caller), bulk(request.body)]


def _dict_len(one: Target, _request: Request, _: Caller) -> _Words:
    return [one.main]


def _dict_scan(one: Target, request: Request, _: Caller) -> _Words:
    cursor = bulk(request.body or b"0")
    return [one.main, cursor, _number(request.quantity), _option(request)]


def _of_partition(one: Target, request: Request) -> _Words:
    place = request.partition
    return [bulk(one.items + place), bulk(one.state + place)]


def _queue_change(one: Target, request: Request, caller: Caller) -> _Words:
    return [*_of_partition(one, request), one.waiting, *_change(one, request, caller)]


def _queue_put(one: Target, request: Request, caller: Caller) -> _Words:
    rest = (_number(request.quantity * 1000), bulk(request.partition), bulk(request.packed()))
    return [*_queue_change(one, request, caller), *rest, bulk(caller.waits)]


def _queue_get(one: Target, request: Request, caller: Caller) -> _Words:
    rest = (_number(request.quantity), bulk(request.partition), bulk(caller.waits))
    return [*_queue_change(one, request, caller), *rest]


def _queue_len(one: Target, request: Request, _: Caller) -> _Words:
    items = bulk(one.items + request.partition)
    return [items, one.main, _option(request), bulk(one.items)]


def _queue_clear(one: Target, request: Request, caller: Caller) -> _Words:
    rest = (bulk(request.partition), _option(request), bulk(one.items), bulk(one.state))
    return [*_queue_change(one, request, caller), *rest]


def _queue_peek(one: Target, request: Request, caller: Caller) -> _Words:
    rest = (bulk(request.body or b"0"), _number(request.quantity))
    keys = [*_of_partition(one, request), one.waiting]
    return [*keys, *rest, bulk(request.partition), bulk(caller.waits)]


def _queue_return(one: Target, request: Request, caller: Caller) -> _Words:
    caller = caller._replace(slot=request.quantity)
    rest = (bulk(request.partition), bulk(request.packed()))
    return [*_queue_change(one, request, caller), *rest]


#: Op -> script, number of its keys, number of its arguments, and what makes both.
_FORMS: dict[Op, tuple[str, int, int, Callable[[Target, Request, Caller], _Words]]] = {
    Op.DICT_GET: ("dict_get", 1, 2, _dict_get),
    Op.DICT_PUT: ("dict_put", 2, 4, _dict_put),
    Op.DICT_POP: ("dict_pop", 2, 3, _dict_pop),
    Op.DICT_LEN: ("dict_len", 1, 0, _dict_len),
    Op.DICT_CLEAR: ("dict_clear", 2, 2, _change),
    Op.DICT_SCAN: ("dict_scan", 1, 3, _dict_scan),
    Op.QUEUE_PUT: ("queue_put", 5, 6, _queue_put),
    Op.QUEUE_GET: ("queue_get", 5, 5, _queue_get),
    Op.QUEUE_LEN: ("queue_len", 2, 2, _queue_len),
    Op.QUEUE_CLEAR: ("queue_clear", 5, 6, _queue_clear),
    Op.QUEUE_PEEK: ("queue_peek", 3, 4, _queue_peek),
    Op.QUEUE_RETURN: ("queue_return", 5, 4, _queue_return),
}
#: Of transactions that spare many items the way through Lua.
_PUSHED, _DRAINED = "queue_pushed", "queue_drained"
#: The scripts that these need.
SCRIPTS = (*(form[0] for form in _FORMS.values()), _PUSHED, _DRAINED)
#: How long an answer is kept, and a Dict that no one uses: as in common.lua.
_ANSWER_MS, _KEPT_S = 120_000, 7 * 24 * 3600 + 7200
_MULTI, _EXEC = packed(b"MULTI"), packed(b"EXEC")


class Commands:
    """Makes commands, by the digests of the scripts."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._begin = {
            int(op): b"*%d\r\n" % (3 + keys + arguments)
            + b"".join(map(bulk, (b"EVALSHA", digests[name].encode(), b"%d" % keys)))
            for op, (name, keys, arguments, _) in _FORMS.items()
        }
        self._pushed = b"*15\r\n" + b"".join(
            map(bulk, (b"EVALSHA", digests[_PUSHED].encode(), b"5"))
        )
        self._drained = b"*14\r\n" + b"".join(
            map(bulk, (b"EVALSHA", digests[_DRAINED].encode(), b"6"))
        )

    def command(self, one: Target, request: Request, caller: Caller) -> bytes:
        """The command of a request."""
        return self._begin[request.op] + b"".join(_MAKE[request.op](one, request, caller))

    # ---- without Lua, for who was never asked before -------------------------------------------

    # Each comes in pieces, so that the server can read one while the next is made.

    def put_entries(
        self, one: Target, request: Request, caller: Caller, *, keep: bool
    ) -> Iterator[bytes]:
        """A transaction of four commands, or five with ``keep``: the Dict stays for its time."""
        parts = request.parts or []
        record = (b"SET", _answer(one, caller), caller.number + b"1", b"PX", b"%d" % _ANSWER_MS)
        begin = b"%b*%d\r\n$4\r\nHSET\r\n%b" % (_MULTI, 2 + len(parts), one.main)
        kept = b"*3\r\n$6\r\nEXPIRE\r\n%b%b" % (one.main, _number(_KEPT_S)) if keep else b""
        return _around(begin, parts, b"".join((packed(*record), kept, _EXEC)))

    def push(self, one: Target, request: Request, caller: Caller) -> Iterator[bytes]:
        """A transaction of four commands; the last part of its reply is what queue_put.lua says."""
        parts = request.parts or []
        rest = (_number(request.quantity * 1000), bulk(request.partition), _number(len(parts)))
        size = _number(sum(map(len, parts)))
        items = bulk(one.items + request.partition)
        begin = b"%b*%d\r\n$5\r\nRPUSH\r\n%b" % (_MULTI, 2 + len(parts), items)
        change = (self._pushed, *_queue_change(one, request, caller), *rest, size)
        return _around(begin, parts, b"".join((*change, bulk(caller.waits), _EXEC)))

    def drain(self, one: Target, request: Request, caller: Caller) -> bytes:
        """A transaction of four commands: what queue_drained.lua says, and the items."""
        *keys, again, number = _queue_change(one, request, caller)
        kept = bulk(_answer(one, caller) + b":items")
        rest = (_number(request.quantity), bulk(request.partition), bulk(caller.waits))
        items = b"*4\r\n$6\r\nLRANGE\r\n%b$1\r\n0\r\n$2\r\n-1\r\n" % kept
        return b"".join((_MULTI, self._drained, *keys, kept, again, number, *rest, items, _EXEC))


class _Heads(dict[int, bytes]):
    """What a word begins with, by its length; those of short ones are kept."""

    def __missing__(self, length: int) -> bytes:
        made = b"$%d" % length
        if length < _KEPT_HEADS:
            self[length] = made
        return made


_KEPT_HEADS = 4096
_HEADS = _Heads()


#: Words of a piece.
_PIECE = 1000


def _around(begin: bytes, words: Sequence[bytes], end: bytes) -> Iterator[bytes]:
    """Words between what stands before and behind them, in pieces."""
    last = max(0, len(words) - 1) // _PIECE * _PIECE
    for at in range(0, last, _PIECE):
        yield begin + _bulks(words[at : at + _PIECE])
        begin = b""
    yield b"".join((begin, _bulks(words[last:]), end))


def _bulks(words: Sequence[bytes]) -> bytes:
    """Many words, the quick way."""
    lines = [b""] * (2 * len(words) + 1)
    lines[:-1:2] = map(_HEADS.__getitem__, map(len, words))
    lines[1::2] = words
    return b"\r\n".join(lines)


#: How operations are counted, for who looks on.
_COUNTED = {
    int(Op.DICT_GET): "get",
    int(Op.DICT_PUT): "put",
    int(Op.DICT_POP): "pop",
    int(Op.DICT_SCAN): "scan",
    int(Op.QUEUE_PUT): "put",
    int(Op.QUEUE_GET): "get",
    int(Op.QUEUE_RETURN): "return",
}


def counted(request: Request, reply: Reply) -> tuple[str, int]:
    """What is counted of a request that was done, and how many entries or items."""
    op, name = request.op, _COUNTED.get(request.op, "")
    if not name or reply.status != Status.DONE or op == Op.DICT_GET:
        return name, int(bool(name) and reply.status == Status.DONE)
    if op == Op.DICT_POP:
        return name, int(bool(reply.body))
    if op == Op.DICT_SCAN:
        return name, len(reply.parts or ()) // 2 or _length(reply.body, 0) // 2
    if op == Op.QUEUE_GET:
        return name, len(reply.parts or ()) or _length(reply.body, 1)
    number = len(request.parts) if request.parts is not None else _length(request.body, 1)
    if op == Op.DICT_PUT:
        return name, number // 2 if reply.body == b"1" else 0
    return name, number


def _length(packed_list: bytes, at: int) -> int:
    """Of a list that is packed, as object_frames.py does it or the scripts do."""
    return int.from_bytes(packed_list[at : at + 4], "big")


_MAKE = {int(op): form[3] for op, form in _FORMS.items()}


def outcome(request: Request, said: bytes) -> Reply | None:
    """What a script said, as a reply; None where the request is to wait in the line.

    Raises ResourceExhaustedError, RequestSizeError.
    """
    if request.op == Op.QUEUE_GET or request.op == Op.QUEUE_PEEK:
        first = said[:1]
        if first == b"I":
            return Reply(Status.DONE, said)
        return Reply(Status.EMPTY, b"") if first == b"E" else None
    if request.op == Op.QUEUE_PUT and said != b"1":
        first = said[:1]
        if first == b"P":
            raise ResourceExhaustedError("the Queue has 100,000 partitions, and may have no more")
        if first == b"B":
            raise RequestSizeError("a partition has room for 5,000 items and 64 MiB, not for these")
        return Reply(Status.FULL, said[1:]) if first == b"F" else None
    return Reply(Status.DONE, said)
