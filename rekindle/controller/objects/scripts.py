"""The scripts of Dict and Queue as commands of Redis: which keys and arguments each of them has.

Built by hand, since every operation passes here: a request's list of values goes into one argument
as it came. Knows nothing of connections and of waiting.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

from rekindle.controller.objects.catalog import Shared
from rekindle.controller.storage import keys
from rekindle.controller.storage.redis_pipe import packed
from rekindle.wire.object_frames import AGAIN, OPTION, Op, Request

#: Op -> script and the number of its keys.
_SCRIPTS = {
    Op.DICT_GET: ("dict_get", 1),
    Op.DICT_PUT: ("dict_put", 2),
    Op.DICT_POP: ("dict_pop", 2),
    Op.DICT_LEN: ("dict_len", 1),
    Op.DICT_CLEAR: ("dict_clear", 2),
    Op.DICT_SCAN: ("dict_scan", 1),
    Op.QUEUE_PUT: ("queue_put", 4),
    Op.QUEUE_GET: ("queue_get", 4),
    Op.QUEUE_LEN: ("queue_len", 2),
    Op.QUEUE_CLEAR: ("queue_clear", 4),
    Op.QUEUE_PEEK: ("queue_peek", 2),
    Op.QUEUE_RETURN: ("queue_return", 4),
}


def _text(name: str) -> bytes:
    folder = resources.files("rekindle.controller.objects") / "lua"
    return b"".join((folder / f"{part}.lua").read_bytes() for part in ("common", name))


_TEXTS = {name: _text(name) for name, _ in _SCRIPTS.values()}
#: What a new connection is to send first.
LOAD = [packed(b"SCRIPT", b"LOAD", text) for text in _TEXTS.values()]


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _number(value: int) -> bytes:
    return _bulk(b"%d" % value)


_FLAG = (_bulk(b"0"), _bulk(b"1"))


class Caller(NamedTuple):
    """Who asks, and the number of the request: what an answer is kept under."""

    session: bytes
    slot: int
    number: bytes


class _Form(NamedTuple):
    """How the command of an op begins, and what it is made of."""

    begin: bytes
    arguments: Callable[[Shared, Request, Caller], list[bytes]]


def command(one: Shared, request: Request, caller: Caller) -> bytes:
    """The command of a request."""
    form = _FORMS[request.op]
    return form.begin + b"".join(form.arguments(one, request, caller))


def command_again(one: Shared, request: Request, caller: Caller) -> bytes:
    """The same where the reply to it was lost."""
    return command(one, request._replace(flags=request.flags | AGAIN), caller)


def _answer_key(one: Shared, caller: Caller) -> bytes:
    return _bulk(b"%b%b:%d" % (one.answers, caller.session, caller.slot))


def _now_s() -> bytes:
    return _number(int(time.time()))


def _now_ms() -> bytes:
    return _number(int(time.time() * 1000))


def _change(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    """What the keys of a change end with, and its arguments begin with."""
    return [one.keys, _answer_key(one, caller), _FLAG[request.flags & AGAIN], _bulk(caller.number)]


def _option(request: Request) -> bytes:
    return _FLAG[bool(request.flags & OPTION)]


def _dict_get(one: Shared, request: Request, _: Caller) -> list[bytes]:
    field, option = request.body, request.flags & OPTION == OPTION
    words = (one.keys, len(field), field, time.time(), option)
    return [b"%b$%d\r\n%b\r\n$10\r\n%d\r\n$1\r\n%d\r\n" % words]


def _dict_put(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    return [*_change(one, request, caller), _now_s(), _option(request), _bulk(request.body)]


def _dict_pop(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    return [*_change(one, request, caller), _now_s(), _bulk(request.body)]


def _dict_len(one: Shared, _request: Request, _: Caller) -> list[bytes]:
    return [one.keys]


def _dict_scan(one: Shared, request: Request, _: Caller) -> list[bytes]:
    cursor = _bulk(request.body or b"0")
    return [one.keys, _now_s(), cursor, _number(request.quantity), _option(request)]


def _items(one: Shared, partition: bytes = b"") -> bytes:
    return _bulk(keys.queue_items(one.object_id).encode() + partition)


def _state(one: Shared, partition: bytes = b"") -> bytes:
    return _bulk(keys.queue_state(one.object_id).encode() + partition)


def _queue_change(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    place = request.partition
    return [_items(one, place), _state(one, place), *_change(one, request, caller)]


def _queue_put(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    ttl_ms = _number(request.quantity * 1000)
    rest = (_now_ms(), ttl_ms, _bulk(request.partition), _bulk(request.body))
    return [*_queue_change(one, request, caller), *rest]


def _queue_get(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    rest = (_number(request.quantity), _bulk(request.partition))
    return [*_queue_change(one, request, caller), *rest]


def _queue_len(one: Shared, request: Request, _: Caller) -> list[bytes]:
    return [_items(one, request.partition), one.keys, _now_ms(), _option(request), _items(one)]


def _queue_clear(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    rest = (_bulk(request.partition), _option(request), _items(one), _state(one))
    return [*_queue_change(one, request, caller), *rest]


def _queue_peek(one: Shared, request: Request, _: Caller) -> list[bytes]:
    place = request.partition
    rest = (_bulk(request.body or b"0"), _number(request.quantity))
    return [_items(one, place), _state(one, place), *rest]


def _queue_return(one: Shared, request: Request, caller: Caller) -> list[bytes]:
    rest = (_now_ms(), _bulk(request.partition), _bulk(request.body))
    return [*_queue_change(one, request, caller), *rest]


_ARGUMENTS = {
    Op.DICT_GET: (_dict_get, 3),
    Op.DICT_PUT: (_dict_put, 5),
    Op.DICT_POP: (_dict_pop, 4),
    Op.DICT_LEN: (_dict_len, 0),
    Op.DICT_CLEAR: (_change, 2),
    Op.DICT_SCAN: (_dict_scan, 4),
    Op.QUEUE_PUT: (_queue_put, 6),
    Op.QUEUE_GET: (_queue_get, 4),
    Op.QUEUE_LEN: (_queue_len, 3),
    Op.QUEUE_CLEAR: (_queue_clear, 6),
    Op.QUEUE_PEEK: (_queue_peek, 2),
    Op.QUEUE_RETURN: (_queue_return, 5),
}


def _form(op: Op) -> _Form:
    name, key_count = _SCRIPTS[op]
    arguments, argument_count = _ARGUMENTS[op]
    sha = hashlib.sha1(_TEXTS[name], usedforsecurity=False).hexdigest().encode()
    begin = b"*%d\r\n" % (3 + key_count + argument_count)
    begin += _bulk(b"EVALSHA") + _bulk(sha) + _number(key_count)
    return _Form(begin, arguments)


_FORMS: dict[int, _Form] = {op: _form(op) for op in _SCRIPTS}
