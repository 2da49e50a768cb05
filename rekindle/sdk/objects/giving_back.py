"""What a get took of a Queue for one who has not got it goes back.

A get that is interrupted, or whose answer is lost, may have taken items all the same. They go back
by its number, under which Redis keeps for two minutes what it took: nobody has to know them, and to
ask for it twice puts nothing back twice. Where that cannot be said at once a thread says it, for as
long as a controller is waited for. Standard library only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rekindle.exception import ConnectionError, Error, NotFoundError, ServiceError
from rekindle.sdk import notes
from rekindle.sdk.connection.patience import connect_timeout_s
from rekindle.wire.object_frames import Op, Request

#: Who is interrupted waits so long for it, so that the next look finds the items, as a rule.
_AT_ONCE_S = 1.0
_AGAIN_S = 0.2


def returning(request: Request, slot: int) -> Request:
    """Puts back what a get of this slot took; sent under the get's number, in whatever slot."""
    if request.op == Op.QUEUE_RETURN:  # once more
        return request
    return Request(Op.QUEUE_RETURN, partition=request.partition, quantity=slot)


def is_open(request: Request, error: BaseException) -> bool:
    """Whether a request that ended so may have taken items for nobody, or not put them back."""
    if request.op not in (Op.QUEUE_GET, Op.QUEUE_RETURN):
        return False
    return not isinstance(error, Error) or isinstance(error, (ConnectionError, ServiceError))


def goes_on(request: Request, error: BaseException) -> bool:
    """Whether a request that ended so is done in the background, with what else is to be told."""
    return request.op == Op.QUEUE_RETURN and isinstance(error, Error) and is_open(request, error)


def until_answered(ask: Callable[[], object], error: BaseException, *, blocks: bool) -> None:
    """Have a thread ask until it is answered.

    A program that was interrupted (``error`` is a signal's, or a cancellation) waits for it: a
    moment here where this thread ``blocks``, and at its end. One that was told that the controller
    or Redis is away may end before.
    """
    told = isinstance(error, Error)
    thread = threading.Thread(target=_ask, args=(ask,), name="rekindle-giving-back", daemon=told)
    try:
        thread.start()
    except RuntimeError as why:  # no thread can be had, or the program is at its end
        _say_lost(why)
        return
    if blocks and not told:
        thread.join(_AT_ONCE_S)


def _ask(ask: Callable[[], object]) -> None:
    over = time.monotonic() + connect_timeout_s()
    while True:
        try:
            ask()
        except NotFoundError:  # the Queue has been deleted
            return
        except ServiceError as error:  # the controller is there, and Redis is not
            if time.monotonic() > over:
                _say_lost(error)
                return
            time.sleep(_AGAIN_S)
        except Error as error:
            _say_lost(error)
            return
        else:
            return


def _say_lost(error: Exception) -> None:
    notes.write_note(
        f"what an interrupted get() may have taken out of a Queue could not be put back: {error}"
    )
