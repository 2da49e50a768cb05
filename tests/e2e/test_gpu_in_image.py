"""A function with gpu= in an image finds the driver: on a recorded machine, with a stand-in."""

from __future__ import annotations

import pytest

from rekindle.gpu_restore.driver import RECORDING
from rekindle.runtime.images import driver
from tests import images
from tests.e2e.harness import Home
from tests.gpu_restore import machines
from tests.runtime.images import driver_tree

pytestmark = [pytest.mark.criu, *images.BUILDS]

_PROGRAM = """
    import json, os, sys
    import rekindle
    from rekindle.sdk.running import ask_strategy

    image = rekindle.Image.debian_slim("3.13").env({"LD_LIBRARY_PATH": "/opt/lib"})
    app = rekindle.App("driver-in-image", image=image)

    def seen():
        import ctypes, shutil, subprocess
        found = {"smi": shutil.which("nvidia-smi"), "path": os.environ.get("LD_LIBRARY_PATH")}
        for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
            try:
                ctypes.CDLL(name)
                with open("/proc/self/maps") as maps:
                    found[name] = sorted({line.split()[5] for line in maps if name[:-5] in line})
            except OSError as error:
                found[name] = str(error)
        if found["smi"]:
            found["says"] = subprocess.run(["nvidia-smi"], capture_output=True, text=True).stdout
            try:
                open(found["smi"], "a")
            except OSError as error:
                found["write"] = error.strerror
        return found

    @app.cls(gpu="T4", enable_memory_snapshot=True, single_use_containers=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.at_load = os.environ["LD_LIBRARY_PATH"]

        @rekindle.method()
        def look(self):
            return seen() | {"at load": self.at_load}

    @app.function()
    def without():
        return seen()

    @app.local_entrypoint()
    def main():
        found = {"with": Model().look.remote(), "without": without.remote()}
        with ask_strategy("cold"):
            found["cold"] = Model().look.remote()
        print(json.dumps(found))
"""


@pytest.fixture
def home(home_with_base: Home) -> Home:
    """Its store of layers is its own, and has the base."""
    return home_with_base


def test_with_gpu_the_driver_is_there_read_only_and_without_it_is_not(home: Home) -> None:
    driver_tree.make(home.root / "node")
    home.environ[driver.VARIABLE] = str(home.root / "node")
    home.up(**{RECORDING: str(machines.RECORDINGS / "one_t4.json")})
    found = home.run(home.script(_PROGRAM)).value
    for name in ("with", "cold"):
        one = found[name]
        assert one["path"] == one["at load"] == "/opt/lib:/.rekindle/driver/lib"
        place = f"/.rekindle/driver/lib/libcuda.so.{driver_tree.VERSION}"
        assert one["libcuda.so.1"] == [place]
        assert one["libnvidia-ml.so.1"][0].startswith("/.rekindle/driver/lib/libnvidia-ml.so")
        assert one["smi"] == "/usr/bin/nvidia-smi" and one["says"] == "NVIDIA-SMI of the node\n"
        assert one["write"] == "Read-only file system"
    without = found["without"]
    assert without["smi"] is None and without["path"] == "/opt/lib"
    assert "cannot open shared object file" in without["libcuda.so.1"]
    home.rekindle("down")
