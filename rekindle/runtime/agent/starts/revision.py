"""A revision: one version of a function's code, configuration and parameters on this node.

Pools of several apps (two runs of one script, say) share it: its live template and its snapshot.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
import platform
import shlex
import stat
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rekindle import paths
from rekindle.exception import StartError
from rekindle.forkserver import thread_pools
from rekindle.runtime.agent.starts import environment, in_image
from rekindle.runtime.agent.starts.dying_copies import Deaths, DyingCopies
from rekindle.runtime.agent.starts.roots import RootSource
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotTracker
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.runtime.agent.starts.waiting import WaitingRestores
from rekindle.runtime.images.built import BuiltImage
from rekindle.snapshot import validate
from rekindle.snapshot.workingset import WorkingSet
from rekindle.volumes import registry as volumes
from rekindle.wire.environment import DEFAULT_ENVIRONMENT, ENVIRONMENT_VARIABLE, split_name
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy
from rekindle.wire.spec import FunctionSpec, params_digest

log = logging.getLogger(__name__)


@dataclass
class Revision:
    """What its starts need to know."""

    spec: FunctionSpec
    code: bytes
    params: bytes
    source_dir: Path | None
    tracker: SnapshotTracker
    #: Of its GPU snapshot, where it is to have one.
    gpu_tracker: SnapshotTracker | None = None
    #: How many starts from it have failed since the last that did not.
    gpu_failures: int = 0
    #: Of secrets: what may be in a snapshot, and the names of what may not.
    secrets_in_snapshot: dict[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    template: LiveTemplate | None = None
    #: Why its templates are not forked, once one has been seen: [] is safe, None is not known yet.
    fork_unsafe: list[str] | None = None
    #: Why none of its templates can be frozen, as far as one has been seen.
    dump_unsafe: list[str] = field(default_factory=list)
    #: Copies of its templates that ended before they were runners.
    dying: DyingCopies = field(default_factory=DyingCopies)
    #: Held while its first template boots, so that starts that follow can fork that one.
    booting: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Set when an input of it was answered: background work may begin.
    served: asyncio.Event = field(default_factory=asyncio.Event)
    #: What the first calls touch of the snapshot, once it is known.
    working_set: WorkingSet | None = None
    #: Runners whose working set was recorded.
    recordings: int = 0
    #: What the newest restore had to have read from disk, bytes, as far as it is known.
    read_from_disk: int = 0
    #: When all of its working set was seen in the page cache last, in monotonic seconds.
    cached_at: float = -1e9
    #: Whether its template is being restored to be kept.
    restoring: bool = False
    #: The image that it runs in, and where roots of it come from; None: the node's own files, or
    #: not known yet. Held while it is found.
    image: BuiltImage | None = None
    image_is_known: bool = False
    roots: RootSource | None = None
    providing: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: What restores its snapshot, where it runs in an image.
    restores: WaitingRestores | None = None
    restores_of: Path | None = None  # where that lies
    #: Whether it was told that its program's Python is not here.
    other_python_told: bool = False
    background: set[asyncio.Task[None]] = field(default_factory=set)

    @functools.cached_property
    def gpu_name(self) -> str:
        """What names it to holders of weights: other code, or other parameters, are another."""
        return f"{self.spec.revision()}-{params_digest(self.params)[:16]}"

    @functools.cached_property
    def params_digest(self) -> str:
        """What names its parameters to people."""
        return params_digest(self.params)

    @functools.cached_property
    def label(self) -> str:
        """How messages name it."""
        return f"{self.spec.app_name}.{self.spec.name}"

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something for it that goes on when its pools close (``background``)."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    @property
    def snapshots_enabled(self) -> bool:
        """Whether it may be forked and frozen."""
        return self.spec.enable_memory_snapshot

    def environment(self) -> dict[str, str]:
        """The environment of its processes; of secrets only what may be in a snapshot."""
        env = {
            **(environment.of_node() if self.image is None else in_image.environment(self.image)),
            **self._volumes_variable(),
            **self._environment_variable(),
            **self.spec.env,
            **(self.secrets_in_snapshot if self.snapshots_enabled else {}),
            "PYTHONUNBUFFERED": "1",
            **({} if self.image is None else in_image.import_path(self.image, self.spec.env)),
        }
        if self.image is not None and self.spec.gpu:
            env |= in_image.driver_variables(env)
        return env

    def _environment_variable(self) -> dict[str, str]:
        """Where the app's code looks names up, also while it is imported."""
        environment, _ = split_name(self.spec.app_name)
        return {} if environment == DEFAULT_ENVIRONMENT else {ENVIRONMENT_VARIABLE: environment}

    def _volumes_variable(self) -> dict[str, str]:
        """Where volumes lie, for hooks that look into one."""
        if not self.spec.volumes:
            return {}
        if self.image is not None:
            return {volumes.VARIABLE: in_image.VOLUMES}
        return {volumes.VARIABLE: str(volumes.place())}

    def boot_environment(self) -> dict[str, str]:
        """As a process boots: with thread pools limited where it may become a template."""
        env = self.environment()
        return thread_pools.limited(env) if self.snapshots_enabled else env

    def user_threads(self) -> dict[str, str] | None:
        """What the user's environment says of thread pools; None where they are not limited."""
        if not self.snapshots_enabled:
            return None
        env = self.environment()
        return {name: env[name] for name in thread_pools.LIMITED if name in env}

    def is_in(self, image: BuiltImage, roots: RootSource) -> None:
        """Note its image, and where roots of that come from."""
        self.image, self.roots = image, roots
        for tracker in filter(None, (self.tracker, self.gpu_tracker)):
            tracker.image, tracker.env = image, self.environment()

    def forget_image(self) -> None:
        """Have the image found again, and drop what was made of it: templates, waiting restores."""
        self.shut()
        self.image = self.roots = self.restores = None
        self.image_is_known = False

    def bundle(self) -> str:
        """Where its processes see the source of its program; "" where there is none."""
        if self.source_dir is None:
            return ""
        return str(self.source_dir) if self.image is None else in_image.SOURCE

    def import_paths(self) -> tuple[list[str], list[str]]:
        """What is added to ``sys.path``, in front and behind: the client's, which no image has."""
        if self.image is not None:
            return [], []
        return list(self.spec.sys_path), list(self.spec.sys_path_last)

    def project_dirs(self) -> list[str]:
        """Where the files lie that its program may read as its own: edits of them count."""
        if self.image is not None:
            return []  # copies that nobody changes; the image's name says which
        file = self.spec.program[1]
        own = [os.path.dirname(file)] if file else []
        return [*dict.fromkeys([*own, self.spec.cwd, *self.spec.sys_path])]

    def command(self) -> list[str]:
        """What its processes are started by."""
        # -P: a module in the working directory does not hide one that the runner itself needs.
        runner = ["-P", "-m", "rekindle.runtime.runner.main"]
        if self.image is not None:
            return [*self.image.entrypoint, self.image.python, *runner]
        return [self.interpreter(), *runner]

    def process(self) -> str:
        """What a message calls a process that was just started."""
        if self.image is None or not self.image.entrypoint:
            return "a new process"
        words = shlex.join(self.image.entrypoint)
        return f"a new process, started by the image's entrypoint `{words}` (which must exec it),"

    def interpreter(self) -> str:
        """The function's Python, or the agent's own where that one does not exist here."""
        wanted = self.spec.python
        return wanted if wanted and os.access(wanted, os.X_OK) else sys.executable

    def why_other_python(self) -> str:
        """What is told where its processes run by another Python than its program did; else ""."""
        wanted = self.spec.python
        if not wanted or self.image is not None or self.interpreter() == wanted:
            return ""
        return (
            f"its program's Python, {wanted}{self._versions()[0]}, is not on this node: run by the "
            f"agent's, {sys.executable}{self._versions()[1]}, and its packages"
        )

    def note_of_other_python(self) -> str:
        """The same for who registers or deploys its app, with what to do."""
        why = self.why_other_python()
        if not why:
            return ""
        if no := self.why_not_by_python():
            return f"cannot run, as {no}"
        return (
            f"{why}. To have one for both, run the program by that one, with its packages there, "
            f"or give the function an image"
        )

    def _versions(self) -> tuple[str, str]:
        """Of the program's Python and the agent's, where the instructions of code are others."""
        of_program, here = self.spec.python_version, platform.python_version()
        if not of_program or of_program.split(".")[:2] == here.split(".")[:2]:
            return "", ""
        return f" ({of_program})", f" ({here})"

    def why_not_by_python(self) -> str:
        """Why its processes cannot run what came by value, and what to do; "" where they can."""
        of_program, here = self._versions()
        if self.spec.module or not here or not self.why_other_python():
            return ""  # an image's Python is looked at where the image is
        return (
            f"it is sent as code of Python{of_program}, as no import finds it, and its program's, "
            f"{self.spec.python}, is not on this node, whose agent has another{here}: declare it "
            "at the top level of a module, without serialized=True, or run both by one version"
        )

    def working_directory(self) -> str:
        """Where the program was started, if runners have that; in an image, where that says.

        Raises StartError where it is not known whether they have it.
        """
        if self.image is not None:
            return self.image.workdir or in_image.DEFAULT_DIRECTORY
        directory = self.spec.cwd
        if not directory or not _has_directory(directory):
            return "/"
        return "/" if paths.is_hidden_from_runners(Path(directory)) else directory

    def live_template(self) -> LiveTemplate | None:
        """A template that may be forked now."""
        template = self.template
        if template is None or template.gone.is_set() or template.retired or template.fork_unsafe:
            return None
        template.last_used = time.monotonic()
        return template

    def has_spare(self) -> bool:
        """Whether a child of its live template waits for a start."""
        template = self.live_template()
        return template is not None and bool(template.spares.waiting)

    async def template_is_outdated(self) -> bool:
        """Whether a file that the live template loaded or read is not what it was."""
        template = self.live_template()
        if template is None:
            return False
        try:
            return bool(await asyncio.to_thread(validate.changed_file, template.loaded_files))
        except OSError as error:  # it may be: another one is booted
            log.warning("files of a template not looked at", extra=kv(of=self.label, reason=error))
            return True

    def has_best_template(self) -> bool:
        """Whether a template is live, and mapped from the snapshot where that can be."""
        template, snapshot = self.live_template(), self.tracker.snapshot
        if template is None:
            return False
        return template.mapped or snapshot is None or not snapshot.is_mapped

    def why_no_fork(self) -> str:
        """Why no template can be forked now."""
        if not self.snapshots_enabled:
            return "enable_memory_snapshot=True is not set, so there is no template"
        if self.fork_unsafe:
            return f"its template is not safe to fork: {'; '.join(self.fork_unsafe)}"
        return "no live template"

    def why_no_spare(self) -> str:
        """Why no spare can be taken now."""
        template = self.live_template()
        if template is None:
            return self.why_no_fork()
        why = template.spares.why_none
        return f"none waits: {why}" if why else "none waits"

    def why_no_restore(self) -> str:
        """Why there is no snapshot to restore now."""
        if not self.snapshots_enabled:
            return "enable_memory_snapshot=True is not set, so there is no snapshot"
        if why := self.dying.why_not(Strategy.RESTORE):
            return why
        return f"no snapshot: {self.tracker.why_none()}"

    def restorable(self) -> bool:
        """Whether there is a snapshot whose copies become runners."""
        return self.tracker.snapshot is not None and not self.dying.why_not(Strategy.RESTORE)

    def note_served(self, strategy: Strategy, deaths: Deaths) -> str:
        """A start has a runner, after some copies had ended. What its starts try no more from now
        on, in words; "" where nothing changes."""
        refused = self.dying.served(strategy, deaths)
        if Strategy.FORK in refused:
            self.fork_unsafe = [self.dying.why_not(Strategy.FORK)]
            self.drop_template()
        return "; ".join(self.dying.why_not(kind) for kind in refused)

    def keep(self, template: LiveTemplate) -> None:
        """Keep a template for later forks; one that is there already is let go."""
        if self.template is not None:
            template.spares.wanted = self.template.spares.wanted
            if not self.template.gone.is_set():
                self.template.retire()
        template.last_used = time.monotonic()
        self.template = template

    def shut(self) -> None:
        """Nothing of it is started any more; what runs stays."""
        self.drop_template()
        if self.restores is not None:
            self.restores.shut()
        if self.roots is not None:
            self.roots.close()

    def drop_template(self) -> None:
        """Let the template go; runners that were forked from it stay."""
        if self.template is not None:
            self.template.retire()
            self.template = None


def _has_directory(path: str) -> bool:
    """Whether the user of this node can be there: where the program is may be another machine.

    Raises StartError where that cannot be told: a snapshot of what ran elsewhere would stay.
    """
    try:
        is_there = stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except OSError as error:
        raise StartError(
            f"the program's directory, {path}, cannot be looked at ({error.strerror}): see to its "
            "file system, or start the program in another one"
        ) from error
    return is_there and os.access(path, os.X_OK)


def revision_key(spec: FunctionSpec, params: bytes, in_snapshot: dict[str, str]) -> str:
    """What two pools must agree on to share a revision; ``in_snapshot``: of their secrets."""
    more = hashlib.sha256(params)
    for name, value in sorted(in_snapshot.items()):
        more.update(f"\0{name}\0{value}".encode())
    return f"{spec.revision()}:{more.hexdigest()[:16]}"
