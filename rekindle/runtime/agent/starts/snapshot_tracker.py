"""The snapshot of one revision, as its agent follows it: find, validate, refuse, make again.

The store and CRIU are the snapshot package's; when and in which namespaces CRIU runs is decided by
``freezing.py`` and ``ladder.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from rekindle.exception import GpuError, InternalFailure, SnapshotError, SnapshotInvalidError
from rekindle.linux.passing import is_passing
from rekindle.runtime.agent.apart import apart
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.images.built import BuiltImage
from rekindle.snapshot import key as key_room
from rekindle.snapshot import moved
from rekindle.snapshot import validate as validate_room
from rekindle.snapshot.key import Ingredients
from rekindle.snapshot.store import Snapshot
from rekindle.snapshot.validate import Seen
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.spec import FunctionSpec

log = logging.getLogger(__name__)


class SnapshotState(Enum):
    """Where a revision's snapshot is in its life on this node."""

    UNKNOWN = "unknown"  # not looked for yet, or that failed for a reason that passes
    ABSENT = "absent"  # there is none that may be used; one should be made
    MAKING = "making"
    READY = "ready"
    IMPOSSIBLE = "impossible"  # this template cannot be frozen; the reason is kept


_MOVES = {
    SnapshotState.UNKNOWN: {SnapshotState.ABSENT, SnapshotState.READY, SnapshotState.IMPOSSIBLE},
    SnapshotState.ABSENT: {SnapshotState.MAKING, SnapshotState.READY, SnapshotState.IMPOSSIBLE},
    SnapshotState.MAKING: {
        *(SnapshotState.READY, SnapshotState.ABSENT, SnapshotState.IMPOSSIBLE),
        SnapshotState.UNKNOWN,
    },
    SnapshotState.READY: {SnapshotState.ABSENT, SnapshotState.UNKNOWN},
    SnapshotState.IMPOSSIBLE: {SnapshotState.UNKNOWN},
}

#: A dump that failed for a reason that may pass is tried again this often.
MAX_ATTEMPTS = 2
#: One that had to give way is not begun again for so long.
PUT_OFF_S = 10.0
#: What could not be found out is asked again after so long.
ASK_AGAIN_S = 30.0
#: After a failure; after one that passes it is twice as long each time, up to the longest.
_FAILED_S, _LONGEST_S = 30.0, 960.0


@dataclass
class SnapshotTracker:
    """One revision's snapshot. Only ``_move`` changes its state."""

    context: NodeContext
    spec: FunctionSpec
    params: bytes
    env: dict[str, str]
    #: See Ingredients.gpu.
    gpu: str = ""
    #: What the template runs in; None: the node's own files.
    image: BuiltImage | None = None
    #: Why this machine can take none at all, asked before one is looked for; "" where it can.
    why_never: Callable[[], Awaitable[str]] | None = None
    state: SnapshotState = SnapshotState.UNKNOWN
    #: Why there is none, or why the last one was refused.
    reason: str = ""
    attempts: int = 0
    #: Failures in a row that pass: no room on the disk, say. They are not among the attempts.
    passed: int = 0
    #: Before when it is not looked for again (monotonic seconds).
    look_after: float = 0.0
    #: Until when a failed attempt to make one is not repeated (monotonic seconds).
    not_before: float = 0.0
    ingredients: Ingredients | None = None
    snapshot: Snapshot | None = None
    #: Why one that was there is not used, until a start has told it: whatever finds that it is
    #: broken, the next start that could have been a restore says so.
    untold_refusal: str = ""
    #: Why the snapshot is no longer restored by mapping, after that failed once.
    mapping_failed: str = ""
    #: Of the snapshot that is being made: what is done now, in words, and where it is written to.
    making_step: str = ""
    making_dir: Path | None = None
    making_since: float = 0.0
    #: The snapshot that was found whole last, and its files as they were then.
    _whole: tuple[Snapshot, Seen] | None = None
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def _move(self, to: SnapshotState, reason: str = "") -> None:
        if to not in _MOVES[self.state]:
            raise InternalFailure(f"a snapshot cannot go from {self.state} to {to}")
        log.info(
            "snapshot state",
            extra=kv(
                app=self.spec.app_name, function=self.spec.name, state=to.value, reason=reason
            ),
        )
        self.state, self.reason = to, reason

    async def look(self) -> None:
        """Find and validate the snapshot, once until ``forget``; not before its image is known,
        which is part of its name."""
        if self.state is not SnapshotState.UNKNOWN or (self.spec.image and self.image is None):
            return
        async with self._looking:
            if self.state is not SnapshotState.UNKNOWN or time.monotonic() < self.look_after:
                return
            await self.context.ask_for_criu()
            if self.context.criu is None:
                if self.context.criu_not_asked:
                    self._ask_later(self.context.no_criu)
                else:
                    self._move(SnapshotState.IMPOSSIBLE, self.context.no_criu)
                return
            try:
                if self.why_never is not None and (why_never := await self.why_never()):
                    self._move(SnapshotState.IMPOSSIBLE, why_never)
                    return
                self.ingredients, self.snapshot = await apart(self._find)
            except SnapshotInvalidError as error:
                self._move(SnapshotState.ABSENT, str(error))
                self.untold_refusal = str(error)
                return
            except GpuError as error:  # whether this machine can is not known
                self._ask_later(str(error))
                return
            except (SnapshotError, OSError) as error:
                if is_passing(error):
                    self._ask_later(str(error))
                elif isinstance(error, SnapshotError):
                    self._move(SnapshotState.IMPOSSIBLE, str(error))
                else:
                    raise
                return
            if self.snapshot is None:
                self._move(SnapshotState.ABSENT, "none has been made")
            else:
                self._move(SnapshotState.READY)
                self.share()

    def _ask_later(self, reason: str) -> None:
        """It could not be looked for just now."""
        log.warning(
            "snapshot not looked for",
            extra=kv(app=self.spec.app_name, function=self.spec.name, reason=reason),
        )
        self.reason, self.look_after = reason, time.monotonic() + ASK_AGAIN_S

    def _find(self) -> tuple[Ingredients, Snapshot | None]:
        assert self.context.criu is not None
        image = None
        if self.image is not None:
            built = self.image
            image = key_room.ImagePython(built.name, built.python, built.python_version)
        ingredients = key_room.gather(
            self.spec,
            criu=self.context.criu,
            params=self.params,
            env=self.env,
            gpu=self.gpu,
            image=image,
        )
        self.ingredients = ingredients  # also when what follows raises
        key = ingredients.key()
        snapshot = self.context.store.get(key)
        if snapshot is not None:
            snapshot = moved.named_here(self.context.store, snapshot)
        if snapshot is None and self.context.stored is not None:
            snapshot = self.context.stored.find(key)
        if snapshot is not None:
            validate_room.validate(snapshot, ingredients)
        return ingredients, snapshot

    def share(self) -> None:
        """Have the nodes' common store get what is here, or this node get what is there."""
        stored, snapshot = self.context.stored, self.snapshot
        if stored is None or snapshot is None:
            return
        if not stored.is_arriving(snapshot):
            stored.pushes.soon(snapshot)
            return

        def arrived(here: Snapshot) -> None:
            if self.snapshot is snapshot:
                self.snapshot = here

        def lost(why: str) -> None:
            if self.snapshot is snapshot:
                self.refuse(f"snapshot refused: {why}")

        stored.complete_soon(snapshot, arrived, lost)

    async def usable(self) -> Snapshot | None:
        """The snapshot to restore from, if its files are as they were when it was validated.

        Raises SnapshotInvalidError when they are not; it is not used again then.
        """
        if self.state is not SnapshotState.READY or self.snapshot is None:
            return None
        if self.ingredients is None:
            raise InternalFailure("a snapshot is ready without ingredients")
        snapshot = self.snapshot
        if self._whole is not None and self._whole[0] is snapshot and self._whole[1].holds():
            return snapshot
        try:
            # In a thread: images that changed are read as a whole before they are refused.
            seen = await asyncio.to_thread(_validate_images, snapshot)
            self._whole = (snapshot, seen) if seen is not None else None
        except SnapshotInvalidError as error:
            self.refuse(str(error))
            raise
        return self.snapshot

    def refuse(self, reason: str) -> None:
        """Use the snapshot no more, for this reason: another one is to be made."""
        self.snapshot = None
        if self.state is SnapshotState.READY:
            self._move(SnapshotState.ABSENT, reason)
            self.untold_refusal = reason

    def put_aside(self, reason: str) -> None:
        """Use the snapshot no more for a while: starts from it fail for a reason that passes."""
        self.snapshot = None
        self._move(SnapshotState.UNKNOWN)
        self._ask_later(reason)

    def wanted(self) -> bool:
        """Whether one should be made now."""
        return (
            self.state is SnapshotState.ABSENT
            and self.attempts < MAX_ATTEMPTS
            and time.monotonic() >= self.not_before
        )

    def begin(self) -> None:
        """Note that a snapshot is being made."""
        self.attempts += 1
        self.making_step, self.making_dir = "loading", None
        self.making_since = time.monotonic()
        self._move(SnapshotState.MAKING)

    def made(self, snapshot: Snapshot) -> None:
        """Note that the snapshot is made, and can be used."""
        self.snapshot = snapshot
        self.mapping_failed = self.untold_refusal = ""
        self.attempts = self.passed = 0
        self._move(SnapshotState.READY)

    def failed(self, reason: str, *, for_good: bool, passes: bool = False) -> None:
        """Note why none could be made; ``for_good``: trying again would end the same; ``passes``:
        it would not, once there is room, say."""
        wait_s = _FAILED_S
        if passes:
            self.attempts -= 1
            wait_s = min(_LONGEST_S, wait_s * 2**self.passed)
            self.passed += 1
        self.not_before = time.monotonic() + wait_s
        if self.state is SnapshotState.ABSENT:
            self._move(SnapshotState.MAKING)
        self._move(SnapshotState.IMPOSSIBLE if for_good else SnapshotState.ABSENT, reason)

    def put_off(self, reason: str) -> None:
        """Have it tried again soon: something more urgent came."""
        self.attempts -= 1
        self.not_before = time.monotonic() + PUT_OFF_S
        self._move(SnapshotState.ABSENT, reason)

    async def outdated(self, reason: str) -> None:
        """What was made is of an image that is another now: have it looked for that one's."""
        self.attempts -= 1
        self._move(SnapshotState.UNKNOWN, reason)
        await self.look()

    def why_none(self) -> str:
        """Why there is none now."""
        being_made = self.state is SnapshotState.MAKING
        return self.reason or ("it is being made" if being_made else "none was made yet")

    def progress(self) -> pb.SnapshotProgress | None:
        """How far the making of it is; None while none is made."""
        if self.state is not SnapshotState.MAKING:
            return None
        written = _bytes_in(self.making_dir) if self.making_dir is not None else 0
        return pb.SnapshotProgress(
            step=self.making_step,
            written_bytes=written,
            elapsed_s=round(time.monotonic() - self.making_since, 1),
        )

    async def refresh(self) -> bool:
        """Look again, as packages or files may have changed; False when the name is another."""
        if self.state not in (SnapshotState.READY, SnapshotState.IMPOSSIBLE):
            return True
        before = self.ingredients.key() if self.ingredients else ""
        self._move(SnapshotState.UNKNOWN)
        await self.look()
        after = self.ingredients.key() if self.ingredients else ""
        return before in ("", after)


def _bytes_in(directory: Path) -> int:
    """Of files that may come and go while they are counted."""
    count = 0
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            with contextlib.suppress(OSError):
                count += path.stat().st_size
    return count


def _validate_images(snapshot: Snapshot) -> Seen | None:
    seen = None
    with contextlib.suppress(OSError):  # the validation says which file that is
        seen = Seen.of(snapshot)  # before they are looked at
    validate_room.validate_images(snapshot)
    return seen
