"""Builders that are killed, that meet, and that run out of disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rekindle import Image
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.store import LayerStore, mounted
from rekindle.wire.images import names
from tests import images

pytestmark = images.BUILDS

#: How many builders are killed.
_KILLS = 8
_STEPS = 4


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LayerStore:
    place = tmp_path / "images"
    monkeypatch.setenv("REKINDLE_IMAGES", str(place))
    return images.store_with_base(place)


def _chain(mark: str = "") -> Image:
    image = images.base()
    for number in range(_STEPS):
        # What is written last says that all before it was.
        image = image.run_commands(
            f"for n in $(seq 300); do echo {mark} > /part-{number}-$n; done; echo > /whole-{number}"
        )
    return image


def _builder(image: Image) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "rekindle.runtime.images"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps({"spec": image.spec().to_json(), "secrets": {}}))
    child.stdin.close()
    return child


def _check_all_whole(store: LayerStore) -> int:
    """Each layer that is there has all that its step made; how many there are."""
    layers = [layer for layer in store.all() if layer.parent]
    for layer in layers:
        names = [one.name for one in store.place(layer.name).iterdir()]
        assert len(names) == 301 and any(one.startswith("whole-") for one in names), layer
    return len(layers)


def test_a_builder_that_is_killed_leaves_nothing_that_is_taken_for_whole(
    store: LayerStore,
) -> None:
    seed = int(os.environ.get("REKINDLE_FAULT_SEED", "13"))
    chance = random.Random(seed)
    print(f"REKINDLE_FAULT_SEED={seed}")
    whole = 0
    for _ in range(_KILLS):
        builder = _builder(_chain())
        assert builder.stdout is not None
        # Killed after some of what it says; the sandbox of the step has begun or not by then.
        for _ in range(chance.randint(0, 3)):
            builder.stdout.readline()
        builder.send_signal(signal.SIGKILL)
        builder.wait()
        builder.stdout.close()
        while mounted(list(names(_chain().spec().steps))):
            time.sleep(0.01)  # the kernel ends what the builder had started
        found = _check_all_whole(store)
        assert found >= whole
        whole = found
    built = ensure(_chain().spec(), store=store)
    assert built is not None
    assert _check_all_whole(store) == _STEPS
    store.remove_leftovers()
    assert not list((store.root / "drafts").iterdir())
    assert str(store.root) not in Path("/proc/self/mountinfo").read_text()


def test_two_builders_of_one_image_build_each_layer_once(store: LayerStore) -> None:
    image = _chain("both")
    builders = [_builder(image) for _ in range(2)]
    said = []
    for builder in builders:
        with builder:
            assert builder.stdout is not None
            said.append([json.loads(line) for line in builder.stdout])
        assert builder.returncode == 0
    began = [one["step"] for lines in said for one in lines if one.get("line") == ""]
    assert len(began) == len(set(began)) == _STEPS
    assert said[0][-1] == said[1][-1]
    assert _check_all_whole(store) == _STEPS


_ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from rekindle.exception import ImageBuildError
from rekindle.runtime.images.builder import ensure
from tests import images
disk = Path(sys.argv[1])
store = images.store_with_base(disk / "images")
(disk / "filling").write_bytes(bytes(40 << 20))
image = images.base().run_commands("head -c 30000000 /dev/zero > /large")
try:
    ensure(image.spec(), store=store)
except ImageBuildError as error:
    print(error)
print(len(store.all()), len(list((store.root / "drafts").iterdir())))
(disk / "filling").unlink()
built = ensure(image.spec(), store=store)
print((built.lowers[0] / "large").stat().st_size)
"""


def test_a_full_disk_is_said_and_the_build_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [
            *(sys.executable, tests / "small_disk.py", disk, "64m"),
            *(sys.executable, "-c", _ON_A_SMALL_DISK, disk),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(tests.parent),
            "REKINDLE_IMAGES": str(disk / "images"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    *said, left, size = done.stdout.splitlines() or [done.stderr, "", ""]
    assert any("No space left" in line for line in said), done
    assert (left, size) == ("1 0", "30000000"), done
