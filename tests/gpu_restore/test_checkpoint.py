"""GPU snapshots: the steps in order, and a way back from each that fails."""

from __future__ import annotations

import io
import json
import threading

import pytest

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore import checkpoint, checkpointing, cuda
from rekindle.gpu_restore.checkpoint import State
from rekindle.gpu_restore.cuda import Driver
from tests.gpu_restore.fake_cuda import FakeCuda

PID = 4711


def _driver(library: FakeCuda) -> Driver:
    driver = Driver(library)
    driver.init()
    return driver


def test_a_suspended_process_is_resumed() -> None:
    driver = _driver(FakeCuda())
    checkpoint.suspend(driver, PID)
    assert checkpoint.state_of(driver, PID) is State.CHECKPOINTED
    checkpoint.resume(driver, PID)
    assert checkpoint.state_of(driver, PID) is State.RUNNING


def test_it_is_resumed_on_another_gpu() -> None:
    driver = _driver(FakeCuda(gpus=2))
    checkpoint.suspend(driver, PID)
    checkpoint.resume(driver, PID, {driver.uuid(0): driver.uuid(1)})
    assert checkpoint.state_of(driver, PID) is State.RUNNING


def test_a_process_that_cannot_be_checkpointed_goes_on() -> None:
    library = FakeCuda()
    driver = _driver(library)
    library.fail["cuCheckpointProcessCheckpoint"] = 801
    with pytest.raises(GpuError, match=f"no GPU snapshot of process {PID}.*cuCheckpointProcessCh"):
        checkpoint.suspend(driver, PID)
    assert checkpoint.state_of(driver, PID) is State.RUNNING


def test_a_process_that_is_lost_is_said_to_be() -> None:
    library = FakeCuda()
    driver = _driver(library)
    library.fail["cuCheckpointProcessCheckpoint"] = 999
    library.fail["cuCheckpointProcessGetState"] = 1
    with pytest.raises(GpuError, match="the process is lost"):
        checkpoint.suspend(driver, PID)


def test_a_state_that_is_not_known_ends_a_suspend_as_a_lost_process_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = FakeCuda()
    library.fail["cuCheckpointProcessCheckpoint"] = 999
    monkeypatch.setattr(Driver, "process_state", lambda *_: 7)
    _first, said = _served(monkeypatch, library, {"id": 9, "op": "suspend", "pid": PID})
    assert isinstance(said, dict) and said["reason"].endswith("; the process is lost")


def test_a_process_that_does_not_lock_in_time_is_left_as_it_was() -> None:
    library = FakeCuda()
    driver = _driver(library)
    library.fail["cuCheckpointProcessLock"] = 600
    with pytest.raises(CudaError, match="cuCheckpointProcessLock"):
        checkpoint.suspend(driver, PID)
    assert "cuCheckpointProcessCheckpoint" not in library.calls


def test_a_copy_that_cannot_be_resumed_is_an_error() -> None:
    driver = _driver(FakeCuda())
    with pytest.raises(GpuError, match="cannot be resumed"):
        checkpoint.resume(driver, PID)


def test_an_older_driver_cannot_and_says_why() -> None:
    assert "570 or newer" in checkpoint.why_not(Driver(FakeCuda(version=12070)))
    assert checkpoint.why_not(Driver(FakeCuda(version=12080))) == ""


def test_a_process_goes_to_another_gpu_from_driver_580_on() -> None:
    assert "580 or newer" in checkpoint.why_not_moved(Driver(FakeCuda(version=12090)))
    assert checkpoint.why_not_moved(Driver(FakeCuda(version=13000))) == ""


def _served(monkeypatch: pytest.MonkeyPatch, library: FakeCuda, *orders: object) -> list[object]:
    """What the process that makes the calls answers."""
    monkeypatch.setattr(cuda, "load", lambda: Driver(library))
    answers, before = io.StringIO(), set(threading.enumerate())
    checkpointing.serve(io.StringIO("".join(json.dumps(one) + "\n" for one in orders)), answers)
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_the_process_that_makes_the_calls_says_first_why_it_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (said,) = _served(monkeypatch, FakeCuda(version=12040))
    assert isinstance(said, dict) and "570 or newer" in said["why_not"]


def test_the_process_that_makes_the_calls_answers_each_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = FakeCuda()
    assert _served(monkeypatch, library, {"id": 7, "op": "suspend", "pid": PID, "moved": None}) == [
        {"why_not": "", "why_not_moved": ""},
        {"id": 7, "reason": ""},
    ]
    assert library.process == {PID: State.CHECKPOINTED}
    assert library.contexts == {}  # it takes no memory of any device
    _first, second = _served(monkeypatch, library, {"id": 8, "op": "suspend", "pid": PID})
    assert isinstance(second, dict) and "cuCheckpointProcessLock failed" in second["reason"]


@pytest.mark.parametrize(("code", "passes"), [(2, True), (802, True), (100, False)])
def test_whether_there_may_be_gpu_snapshots_later_is_told(
    monkeypatch: pytest.MonkeyPatch, code: int, passes: bool
) -> None:
    library = FakeCuda()
    library.fail["cuInit"] = code
    monkeypatch.setattr(cuda, "load", lambda: Driver(library))
    answers = io.StringIO()
    checkpointing.serve(io.StringIO(), answers)
    said = json.loads(answers.getvalue())
    assert said["why_not"] and said["passes"] is passes
