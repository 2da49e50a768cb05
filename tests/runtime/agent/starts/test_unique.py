"""Unique again: copies of one template differ wherever they must, and see their own environment."""

from __future__ import annotations

import os
import random
import socket
import ssl
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from rekindle.snapshot import pycriu
from rekindle.snapshot.files import hash_file
from rekindle.snapshot.manifest import ImageFile, Manifest
from tests.runtime.agent.harness import Harness, run
from tests.sealed import unsealed

pytestmark = pytest.mark.criu

#: Made here, as a constant would be in the source text that libraries cache.
SECRET = uuid.uuid4().hex


class Sources:
    """Draws from every generator in the template, so that each has state to share."""

    def load(self) -> None:
        import importlib.util

        import numpy.random

        #: Gigabytes, and so not in every environment in which these tests run.
        self.has_torch = importlib.util.find_spec("torch") is not None
        random.random()
        numpy.random.random()
        self.torch_draws()
        ssl.RAND_bytes(8)
        uuid.uuid4(), uuid.uuid1()
        tempfile.mktemp()

    def torch_draws(self) -> dict[str, float]:
        if not self.has_torch:
            return {}
        import torch

        return {"torch": float(torch.rand(1, dtype=torch.float64))}

    def draw(self) -> dict[str, Any]:
        import numpy.random

        return self.torch_draws() | {
            "random": random.random(),
            "numpy": float(numpy.random.random()),
            "openssl": ssl.RAND_bytes(8),
            "uuid4": str(uuid.uuid4()),
            "uuid1": str(uuid.uuid1()),
            "tempfile": tempfile.mktemp(),
            "hostname": socket.gethostname(),
        }

    def threads(self) -> int | None:
        if not self.has_torch:
            return None
        import torch

        return int(torch.get_num_threads())


class Surroundings:
    """What a copy has around it."""

    def load(self) -> None:
        self.clock_ns = time.monotonic_ns()

    def clocks(self) -> tuple[int, int]:
        return self.clock_ns, time.monotonic_ns()

    def environment(self) -> dict[str, str | None]:
        names = ("MY_SECRET", "MY_SETTING", "OMP_NUM_THREADS", "REKINDLE_RUNNER_ID")
        return {name: os.environ.get(name) for name in names}


def test_forked_and_restored_runners_differ_in_every_source(home: Path) -> None:
    """And PyTorch has in them the threads that it may not have in their template."""

    async def scenario(h: Harness) -> None:
        sources = h.add(Sources, enable_memory_snapshot=True, env={"OMP_NUM_THREADS": "3"})
        assert (await h.prepare(sources, "fork")).ok
        assert (await h.prepare(sources, "restore")).ok
        draws = [
            (await h.call(sources, "draw", strategy=strategy)).value
            for strategy in ("fork", "restore") * 3
        ]
        for source in draws[0]:
            seen = [draw[source] for draw in draws]
            assert len(set(seen)) == len(seen), f"{source} repeats: {seen}"
        for strategy in ("fork", "restore"):
            threads = (await h.call(sources, "threads", strategy=strategy)).value
            assert threads == (3 if "torch" in draws[0] else None)

    run(home, scenario)


def test_secrets_and_environment_are_in_the_runner_and_secrets_not_in_the_snapshot(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        here = h.add(
            Surroundings,
            enable_memory_snapshot=True,
            secrets={"MY_SECRET": SECRET},
            env={"MY_SETTING": "on"},
        )
        assert (await h.prepare(here, "restore")).ok
        await h.prepare(here, "fork")
        for strategy in ("cold", "restore", "fork"):
            outcome = await h.call(here, "environment", strategy=strategy)
            assert outcome.value["MY_SECRET"] == SECRET
            assert outcome.value["MY_SETTING"] == "on"
            assert outcome.value["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS")
            assert outcome.value["REKINDLE_RUNNER_ID"] == outcome.result.runner_id
        for image in (home / "snapshots").glob("sn-*/images/*"):
            assert SECRET.encode() not in image.read_bytes(), image

    run(home, scenario)


@pytest.mark.needs_root("CRIU makes a time namespace for it alone")
def test_the_monotonic_clock_never_runs_backwards_even_after_a_reboot(home: Path) -> None:
    ahead_ns = 500_000 * 10**9

    async def make(h: Harness) -> None:
        here = h.add(Surroundings, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(here, "restore")).ok
        before, after = (await h.call(here, "clocks", strategy="restore")).value
        assert before <= after

    def pretend_it_was_made_before_a_reboot() -> None:
        """As on a machine that had been up for days longer when the snapshot was made."""
        directory = next((home / "snapshots").glob("sn-*"))
        image = directory / "images" / "timens-0.img"
        with image.open("rb") as file:
            content = pycriu.images().load(file)
        content["entries"][0]["monotonic"]["tv_sec"] += ahead_ns // 10**9
        with unsealed(image).open("wb") as file:
            pycriu.images().dump(content, file)
        path = directory / "manifest.json"
        manifest = Manifest.from_json(path.read_text())
        manifest.files[image.name] = ImageFile(image.stat().st_size, hash_file(image))
        path.write_text(manifest.to_json())

    async def restore(h: Harness) -> None:
        here = h.add(Surroundings, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(here, "clocks")
        assert outcome.strategy == "restore"
        _before, after = outcome.value
        assert after >= ahead_ns

    run(home, make)
    pretend_it_was_made_before_a_reboot()
    run(home, restore)


class WithLibrary:
    """A library author's own step."""

    def load(self) -> None:
        import rekindle

        self.steps: list[str] = []
        rekindle.on_restore(lambda: self.steps.append("renewed"))

    def seen(self) -> list[str]:
        return self.steps


def test_a_step_added_with_on_restore_runs_once_in_every_runner(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        library = h.add(WithLibrary, enable_memory_snapshot=True)
        await h.prepare(library, "fork")
        await h.prepare(library, "restore")
        for strategy in ("cold", "fork", "restore"):
            assert (await h.call(library, "seen", strategy=strategy)).value == ["renewed"]

    run(home, scenario)
