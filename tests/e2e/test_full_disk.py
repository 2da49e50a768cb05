"""A disk that is too small for a snapshot: calls are served, the reason is said, nothing stays."""

from __future__ import annotations

import pytest

from tests.e2e.harness import COMMAND, SMALL_DISK, Ended, Home

MODEL = """
    import rekindle

    app = rekindle.App("heavy")

    @app.cls(enable_memory_snapshot=True)
    class Heavy:
        @rekindle.enter(snap=True)
        def load(self):
            import os
            self.weights = os.urandom(96 << 20)

        @rekindle.method()
        def size(self) -> int:
            return len(self.weights) >> 20

    @app.local_entrypoint()
    def main(calls: int = 60):
        print(sum(Heavy().size.remote() for _ in range(calls)))
"""


def run_with_small(home: Home, directory: str, size: str, *, up: bool = False) -> Ended:
    """Run the script where ``directory`` is a small tmpfs, in a mount namespace of its own."""
    script = home.script(MODEL)
    target = home.root / directory
    target.mkdir(parents=True)
    command = f"exec {COMMAND} run {script}"
    if up:
        command = f"{COMMAND} up && {COMMAND} run {script}; status=$?; {COMMAND} down; exit $status"
    return home.start(*SMALL_DISK, str(target), size, "sh", "-c", command).end()


@pytest.mark.criu
@pytest.mark.parametrize("up", [False, True], ids=["private", "up"])
def test_calls_are_served_while_a_snapshot_finds_the_disk_full(home: Home, up: bool) -> None:
    """Everything lies on the disk that fills up, the queue too."""
    ended = run_with_small(home, "home", "48m", up=up)
    assert ended.status == 0, str(ended)
    assert str(96 * 60) in ended.out
    assert "no snapshot of heavy.Heavy" in ended.err
    assert "no space left" in ended.err.lower()


@pytest.mark.criu
def test_a_snapshot_store_that_is_full_is_named(home: Home) -> None:
    ended = run_with_small(home, "home/snapshots", "32m")
    assert ended.status == 0, str(ended)
    assert ended.out == f"{96 * 60}\n"
    assert "no snapshot of heavy.Heavy" in ended.err
    assert "no space left" in ended.err.lower()
    assert home.snapshots() == []
