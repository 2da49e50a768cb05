"""Inputs that were given up: kept for who looks into it, put back on the queue, or dropped.

Only inputs of calls that no one waits for: ``.spawn`` and ``.map``. A letter is made with the
result (finalizer.py) and stored with it (lua/complete.lua), so there is one exactly when the input
ended that way.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.queue.blob_keeper import BlobKeeper
from rekindle.controller.queue.intake import Intake
from rekindle.controller.state import Function
from rekindle.controller.storage import stored_messages
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.letter_store import LetterStore
from rekindle.controller.storage.records import StoredLetter
from rekindle.exception import Error, InvalidError
from rekindle.wire import functionid
from rekindle.wire import rekindle_pb2 as pb

_PAGE = 100
_MOST_LISTED = 1000
#: What one reply has of letters, bytes: a traceback may be long, and there are thousands of them.
_MOST_BYTES = 1 << 20
#: Letters that are read at once: each comes with its input.
_READ = 25


@dataclass(eq=False)
class DeadLetters:
    """The dead letters of an instance."""

    _core: Core
    _letters: LetterStore
    _calls: CallStore
    _intake: Intake
    _blobs: BlobKeeper

    # ---- looked at

    async def listed(self, request: pb.DeadLettersRequest) -> pb.DeadLettersReply:
        """Letters of one function or of all, oldest first, behind ``after``.

        No more than are asked for, and than about ``_MOST_BYTES``, but one; none: there are none
        left. ``total`` is of them all.
        """
        reply = pb.DeadLettersReply()
        limit = min(request.limit or _PAGE, _MOST_LISTED)
        after_function, _, after = request.after.partition("/")
        counts = await self._counts(await self._functions(request.function_id))
        if request.function_id:
            self._letters.check(request.function_id)
        reply.total = sum(counts.values())
        size = 0
        for function_id in sorted(one for one, count in counts.items() if count):
            if function_id < after_function:
                continue
            start = after if function_id == after_function else ""
            while len(reply.letters) < limit:
                left = min(_READ, limit - len(reply.letters))
                page = await self._letters.page(function_id, start, left)
                for stored in page:
                    size += len(stored.letter)
                    if reply.letters and size > _MOST_BYTES:
                        return reply
                    reply.letters.append(self._shown(function_id, stored))
                if len(page) < left:
                    break
                start = page[-1].entry
        return reply

    def _shown(self, function_id: str, stored: StoredLetter) -> pb.DeadLetter:
        of = f"{function_id}/{stored.entry}"
        letter = stored_messages.read(pb.DeadLetter, stored.letter, of)
        if letter is None:
            why = "what is kept of it cannot be read"
            letter = pb.DeadLetter(function_id=function_id, reason=why)
            if (function := self._core.state.functions.get(function_id)) is not None:
                letter.app, letter.function = function.app.name, function.name
        letter.id = of
        return letter

    async def counts(self) -> dict[str, int]:
        """How many letters each function has."""
        return await self._counts(await self._functions(""))

    async def _counts(self, function_ids: list[str]) -> dict[str, int]:
        counts = await self._letters.counts(function_ids, self._core.settings.result_ttl_s)
        known = self._core.state.functions
        await self._letters.forget([o for o, left in counts.items() if not left and o not in known])
        return counts

    # ---- put back, dropped

    async def replay(self, selection: pb.DeadLetterSelection) -> pb.DeadLetterCount:
        """Put inputs back on the queue, those of one call as one new call.

        The id of a new call follows from what is in it, so that a replay that is sent again after
        a lost reply does not run anything twice. Raises InvalidError when nothing is selected.
        """
        reply = pb.DeadLetterCount()
        closed: set[str] = set()
        damaged: list[str] = []
        async for function_id, page in self._selected(selection):
            back: list[str] = []
            letters = {one.entry: _read(function_id, one) for one in page}
            damaged += [f"{function_id}/{entry}" for entry in letters if letters[entry] is None]
            readable = [one for one in letters.values() if one is not None]
            if not readable:
                continue
            function = self._now(function_id, readable[0].letter)
            if function is None:
                closed.update(f"{one.letter.app}.{one.letter.function}" for one in readable)
                continue
            calls: dict[str, list[_Readable]] = {}
            for one in readable:
                calls.setdefault(one.letter.call_id, []).append(one)
            for call_id, group in calls.items():
                made = _request(function_id, call_id, group)
                made.function_id = function.function_id
                if any(item.blob for item in made.inputs):  # blobs live as long as their call
                    await self._calls.expire_indexes([call_id], self._core.settings.result_ttl_s)
                try:
                    await self._intake.submit(function, made)
                except Error as error:
                    await self._letters.drop(function_id, back)
                    reply.note = str(error)
                    return reply
                back += [one.entry for one in group]
                reply.calls.append(made.call_id)
                reply.count += len(group)
            # All at once: of a page that is read again, calls are the same, and so run once.
            await self._letters.drop(function_id, back)
        why = {
            "the app is closed (run it again)": sorted(closed),
            "what is kept of them cannot be read (drop them)": damaged,
        }
        reply.note = "; ".join(
            f"not put back, because {reason}: {', '.join(of)}" for reason, of in why.items() if of
        )
        return reply

    def _now(self, function_id: str, letter: pb.DeadLetter) -> Function | None:
        """Where letters of a function run now: there, or where its app was run again since.

        The code may be another one then: that is what a replay after a repair is for.
        """
        function = self._core.state.functions.get(function_id)
        if function is not None and not function.app.closing:
            return function
        found = None
        for app in self._core.state.apps.values():
            if app.name == letter.app and not app.closing:
                again = (one for one in app.functions.values() if one.name == letter.function)
                found = next(again, found)  # the newest app comes last
        return found

    async def drop(self, selection: pb.DeadLetterSelection) -> pb.DeadLetterCount:
        """Forget letters, and their inputs. Raises InvalidError when nothing is selected."""
        reply = pb.DeadLetterCount()
        async for function_id, letters in self._selected(selection):
            read = [_read(function_id, one) for one in letters]
            await self._letters.drop(function_id, [one.entry for one in letters])
            self._blobs.drop([i.blob for one in read if one for i in one.request.inputs if i.blob])
            reply.count += len(letters)
        return reply

    async def drop_of_apps(self, app_ids: Iterable[str]) -> int:
        """Forget all letters of apps, also of functions that are gone; how many."""
        count = 0
        for function_id in await self._functions(""):
            if any(functionid.is_of_app(function_id, app_id) for app_id in app_ids):
                dropped = await self.drop(pb.DeadLetterSelection(function_id=function_id))
                count += dropped.count
        return count

    async def _functions(self, function_id: str) -> list[str]:
        return [function_id] if function_id else sorted(await self._letters.functions())

    async def _selected(
        self, selection: pb.DeadLetterSelection
    ) -> AsyncIterator[tuple[str, list[StoredLetter]]]:
        """Letters, some of one function at a time."""
        if selection.all or (selection.function_id and not selection.ids):
            for function_id in await self._functions(selection.function_id):
                after = ""
                while page := await self._letters.page(function_id, after, _PAGE):
                    after = page[-1].entry
                    yield function_id, page
            if selection.function_id:
                self._letters.check(selection.function_id)
            return
        if not selection.ids:
            raise InvalidError("name dead letters by their ids, a function, or all of them")
        wanted: dict[str, list[str]] = {}
        for name in selection.ids:
            function_id, _, entry = name.partition("/")
            if not entry.replace("-", "").isdigit():
                raise InvalidError(f"{name!r} is not the id of a dead letter")
            wanted.setdefault(function_id, []).append(entry)
        for function_id, entries in wanted.items():
            for start in range(0, len(entries), _PAGE):
                some = entries[start : start + _PAGE]
                found = [await self._letters.one(function_id, one) for one in some]
                self._letters.check(function_id)
                letters = [one for one in found if one is not None]
                if letters:
                    yield function_id, letters


@dataclass(frozen=True)
class _Readable:
    """A letter, and the request that brings its input back."""

    entry: str
    letter: pb.DeadLetter
    request: pb.SubmitRequest


def _read(function_id: str, stored: StoredLetter) -> _Readable | None:
    """None where it is damaged."""
    of = f"{function_id}/{stored.entry}"
    letter = stored_messages.read(pb.DeadLetter, stored.letter, of)
    request = stored_messages.read(pb.SubmitRequest, stored.request, of)
    if letter is None or request is None or not request.inputs:
        return None
    return _Readable(stored.entry, letter, request)


def _request(function_id: str, call_id: str, letters: list[_Readable]) -> pb.SubmitRequest:
    of_them = "\n".join([function_id, call_id, *(one.entry for one in letters)])
    made = pb.SubmitRequest(
        call_id=f"fc-{hashlib.sha256(of_them.encode()).hexdigest()[:22]}",
        function_id=function_id,
        last=True,
        submitted_ns=time.time_ns(),
    )
    for index, one in enumerate(letters):
        request = one.request
        made.params, made.strategy = request.params, request.strategy
        made.inputs.append(request.inputs[0])
        made.inputs[-1].index = index
    return made
