"""What an operator can set on an agent, from the command line and the environment."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rekindle import filesystems, paths
from rekindle.blobs import waiting
from rekindle.exception import InvalidError
from rekindle.gpu_restore.driver import RECORDING
from rekindle.runtime.images import driver, layer_gc
from rekindle.snapshot import budget, criu, seal
from rekindle.volumes import registry as volumes
from rekindle.wire import whole_numbers
from rekindle.wire.calldepth import max_depth
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Of a node: each is a process at least, of which Linux has four million.
MOST_RUNNERS = 1_000_000
#: An agent waits so long for a look at where volumes are to lie.
_LOOK_S = 1.0


def default_max_runners() -> int:
    """``$REKINDLE_MAX_RUNNERS``: runners on this node at most; unless set, enough for work that
    waits, not only computes. Raises InvalidError for what is no positive number.
    """
    what = f"a number, from 1 to {MOST_RUNNERS}"
    found = whole_numbers.said("REKINDLE_MAX_RUNNERS", what, least=1, most=MOST_RUNNERS)
    return max(8, 4 * (os.cpu_count() or 1)) if found is None else found


def max_waiting_runners() -> int:
    """``$REKINDLE_MAX_WAITING_RUNNERS``: runners that wait for calls that their inputs made, and
    do not count; or sixteen for each that counts. Raises InvalidError for what is no number.
    """
    what = f"a number, from 0 to {MOST_RUNNERS}"
    found = whole_numbers.said("REKINDLE_MAX_WAITING_RUNNERS", what, most=MOST_RUNNERS)
    return min(MOST_RUNNERS, 16 * default_max_runners()) if found is None else found


def gpu_grace_s() -> float:
    """``$REKINDLE_GPU_GRACE_S``, or 30: seconds that a runner whose GPU goes to a higher priority
    may still take for what it runs. Raises InvalidError for what is no number.
    """
    text = os.environ.get("REKINDLE_GPU_GRACE_S", "") or "30"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise InvalidError(f"REKINDLE_GPU_GRACE_S={text!r} must be seconds, from 0 to 3600")
    return seconds


def pool_rest_s() -> float:
    """``$REKINDLE_POOL_REST_S``, or 600: seconds after which the pool of an instance with
    parameters that nobody calls closes. Raises InvalidError for what is no number.
    """
    text = os.environ.get("REKINDLE_POOL_REST_S", "") or "600"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 1 <= seconds <= 30 * 86_400:
        raise InvalidError(f"REKINDLE_POOL_REST_S={text!r} must be seconds, from 1 to 2592000")
    return seconds


def gpu_held_mib() -> int | None:
    """``$REKINDLE_GPU_HELD_MIB``: what weights that stay may take of each GPU; None, where it is
    not set: half of it; 0: nothing stays. Raises InvalidError for what is no number.
    """
    return whole_numbers.said("REKINDLE_GPU_HELD_MIB", "a number of MiB, 0 for none")


def lazy_bytes() -> int:
    """``$REKINDLE_LAZY_BYTES``, or a tenth of the disk, 50 GiB at most: what arrives from the store
    may take of the disk; 0: all of it is fetched before it is used. Raises InvalidError for what is
    no size.
    """
    if (asked := budget.asked("REKINDLE_LAZY_BYTES")) is not None:
        return asked
    return min(shutil.disk_usage(paths.home()).total // 10, 50 << 30)


#: Of what is removed when it is over its budget, which is looked up then.
_BUDGETS = (budget.VARIABLE, layer_gc.VARIABLE)


RESTORE_MODES = ("auto", "mapped", "copied")


def restore_mode() -> str:
    """``$REKINDLE_RESTORE_MODE``, or "auto". Raises InvalidError for a mode that is none."""
    mode = os.environ.get("REKINDLE_RESTORE_MODE") or "auto"
    if mode not in RESTORE_MODES:
        raise InvalidError(
            f"REKINDLE_RESTORE_MODE={mode!r} is not a mode; it is one of {', '.join(RESTORE_MODES)}"
        )
    return mode


#: Share of the machine's memory that is the budget, unless set.
DEFAULT_SHARE = 0.8
_MEMORY = "REKINDLE_MEMORY_BUDGET_BYTES"


def budget_bytes() -> int:
    """``$REKINDLE_MEMORY_BUDGET_BYTES``, or a share of the memory that there is.

    Raises InvalidError for what is no size, and for none.
    """
    asked = budget.asked(_MEMORY)
    if asked == 0:
        raise InvalidError(
            f"{_MEMORY}: 0 is no memory for runners; unset it for {DEFAULT_SHARE:.0%} of it"
        )
    return int(DEFAULT_SHARE * _memory_limit()) if asked is None else asked


def _memory_limit() -> int:
    """The machine's memory, or the container's where that is less."""
    total = int(psutil.virtual_memory().total)
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdecimal() else total


def _check_volumes() -> None:
    """As ``paths.named_for_runners``. Where they lie may not answer: that is for who wants one."""
    raised: list[InvalidError] = []

    def look() -> None:
        try:
            paths.named_for_runners(volumes.VARIABLE)
        except InvalidError as error:
            raised.append(error)

    looking = threading.Thread(target=look, name="volumes", daemon=True)
    looking.start()
    looking.join(_LOOK_S)
    if raised:
        raise raised[0]
    if looking.is_alive():
        log.warning("volumes do not answer", extra=kv(path=volumes.place()))


@dataclass(frozen=True)
class AgentSettings:
    """One agent's settings."""

    instance_dir: Path
    max_runners: int = field(default_factory=default_max_runners)
    #: Runners that wait for calls that their inputs made, and do not count (runner_set.py).
    max_waiting_runners: int = field(default_factory=max_waiting_runners)
    #: How many calls a call may be made inside of.
    max_call_depth: int = field(default_factory=max_depth)
    #: How long exit hooks may take before a runner is killed.
    exit_grace_s: float = 30.0
    #: "auto": mapped where the snapshot can be, copied otherwise; "mapped" or "copied": that only.
    restore_mode: str = field(default_factory=restore_mode)
    #: Memory of runners, templates and cached snapshots together; budget.py.
    memory_budget_bytes: int = field(default_factory=budget_bytes)
    #: What a runner that has to make room for a higher priority may still run.
    gpu_grace_s: float = field(default_factory=gpu_grace_s)
    #: Pools of instances with parameters close after so long without a call (resting.py).
    pool_rest_s: float = field(default_factory=pool_rest_s)
    #: What weights that stay may take of each GPU, MiB; None: half of it.
    gpu_held_mib: int | None = field(default_factory=gpu_held_mib)
    #: Where nodes share snapshots and layers; "": nowhere.
    store_url: str = field(default_factory=paths.shared_store_url)
    #: What arrives from there: disk that it may take, and how long a reader waits for it.
    lazy_bytes: int = field(default_factory=lazy_bytes)
    lazy_wait_s: float = field(default_factory=waiting.wait_s)
    #: A live template that no open app uses is kept this long.
    template_keep_s: float = 300.0
    #: Live templates kept at most; the least recently used goes first.
    max_templates: int = 16

    def __post_init__(self) -> None:
        """Raises InvalidError for what is looked up later only, before anybody depends on it."""
        for variable in _BUDGETS:
            budget.asked(variable)
        seal.map_huge_pages()
        filesystems.check_shared(self.store_url, "REKINDLE_STORE_URL:")
        filesystems.check_shared(volumes.url_of_all(), f"{volumes.URL_VARIABLE}:")
        paths.named_folder(paths.IMAGES)
        paths.named(criu.VARIABLE)
        _check_volumes()
        if (recording := paths.named(RECORDING)) is not None and not recording.exists():
            raise InvalidError(f"{RECORDING}={recording} is not there")
        driver.check()
