"""Which functions this process has leases of; those that nobody uses are let go.

An agent takes a runner back that is not called, and says so by the end of the connection: now and
then it is looked for these ends, so that a program that calls ever other functions, variants and
parameters keeps no descriptors of the former ones. Of leases that stand there are so many at most,
by what the process may have open: before one more is asked for, those of the functions that were
called longest ago go. Only idle ones do. What is remembered of a function goes once it was not
called for a while; the next call begins anew. A forked child has no part in its parent's leases.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from rekindle.sdk.calls.lease import held
from rekindle.sdk.calls.leases import LeaseCache
from rekindle.sdk.connection import background
from rekindle.wire.phases import now_ns

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.running import RunningApp

    _Key = tuple[Client, str, bytes, bool]  # as of LeaseCache

#: How often it is looked for leases that were taken back, while there are any...
_LOOK_S = 1.0
#: ...or so many times as long as a look takes.
_PAUSES = 50
#: With fewer leases no thread is started to look: some programs are over before it would begin.
_FEW = 16
#: What is known of a function is dropped when it was not called for so long.
_QUIET_S = 60.0
#: Leases have a socket and some memory files: they take this part of the descriptors that there may
#: be, and there are never more than that.
_PART, _MOST = 4, 1024

_caches: dict[_Key, LeaseCache] = {}
#: Those that were dropped under calls that are still on their way.
_dropped: weakref.WeakValueDictionary[_Key, LeaseCache] = weakref.WeakValueDictionary()
#: Of both, wherever a cache comes or goes; a finaliser may make a call meanwhile.
_lock = threading.RLock()
#: Whether it will be looked again; only the loop says so: whoever asks may be interrupted.
_looks = False


def cache_of(
    client: Client, function_id: str, params: bytes, *, pinned: bool = False
) -> LeaseCache:
    """Where leases of a function are."""
    key = (client, function_id, params, pinned)
    return _caches.get(key) or _new(key)


def _new(key: _Key) -> LeaseCache:
    with _lock:
        cache = _caches.get(key) or _dropped.pop(key, None)
        if cache is None:
            cache = LeaseCache(*key, make_room=make_room)
        cache.dropped, cache.used_ns = False, now_ns()
        _caches[key] = cache
    return cache


def give_back_of(app: RunningApp) -> None:
    """An app ends: no one will call its functions again."""
    function_ids = {*app.function_ids.values(), *app.late_ids.values()}

    def is_of_it(one: tuple[_Key, LeaseCache]) -> bool:
        return one[1].client is app.client and one[1].function_id in function_ids

    with _lock:
        for key, cache in filter(is_of_it, [*_caches.items(), *_dropped.items()]):
            cache.ended = True
            _drop(key, cache)
            _dropped.pop(key, None)
    for function_id in function_ids:
        app.client.node_tokens.pop(function_id, None)


def make_room() -> None:
    """One more lease is about to be asked for."""
    most = most_leases()
    if len(held) >= most:
        _let_go_of_least_used(most * 3 // 4)  # some at a time: to find them takes a while
    if not _looks and (background.is_running() or len(held) >= _FEW):
        background.background().loop.call_soon_threadsafe(_begin_looking)


def most_leases() -> int:
    """As many may stand before idle ones are let go for another."""
    may_open = os.sysconf("SC_OPEN_MAX")  # -1: as many as one likes
    return min(_MOST, max(1, may_open // _PART)) if may_open > 0 else _MOST


def _let_go_of_least_used(left: int) -> None:
    with _lock:
        caches = sorted(_caches.values(), key=lambda cache: cache.used_ns)
    for cache in caches:
        while len(held) > left and cache.idle:
            try:
                oldest = cache.idle.pop(0)
            except IndexError:
                break  # a call has just taken it
            oldest.close()


def _drop(key: _Key, cache: LeaseCache) -> None:
    """Under the lock."""
    _caches.pop(key, None)
    cache.dropped = True
    cache.let_go()


def _begin_looking() -> None:
    if not _looks:
        _look_in(_LOOK_S)


def _look_in(pause_s: float) -> None:
    global _looks
    _looks = True
    background.background().loop.call_later(pause_s, _look)


def _look() -> None:
    global _looks
    _looks = False  # before the look: who makes a lease after it begins another
    began = time.monotonic()
    _let_go_of_quiet()
    if _caches or held:
        _look_in(max(_LOOK_S, _PAUSES * (time.monotonic() - began)))


def _let_go_of_quiet() -> None:
    for key, cache in list(_caches.items()):
        cache.let_go_of_ended()
        if not cache.idle and now_ns() - cache.used_ns > _QUIET_S * 1e9:
            with _lock:
                if _caches.get(key) is cache:
                    _dropped[key] = cache
                    _drop(key, cache)


def _forget_in_child() -> None:
    global _lock, _looks
    _lock, _looks = threading.RLock(), False
    _caches.clear()
    _dropped.clear()


os.register_at_fork(after_in_child=_forget_in_child)
