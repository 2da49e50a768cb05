"""GPUs end to end, on a recorded machine: what callers get, and what operators see."""

from __future__ import annotations

from rekindle.gpu_restore.driver import RECORDING
from tests.e2e.harness import Home, wait_until
from tests.gpu_restore import machines

SCRIPT = """
    import json, os, rekindle
    app = rekindle.App("gpu")

    # A module without snapshots has its devices before it is imported.
    AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")

    @app.function(gpu="T4")
    def inner():
        return 1

    @app.function(gpu="T4")
    def outer():
        return inner.remote()

    @app.function(gpu=["H100", "T4"])
    def sees():
        return AT_IMPORT, os.environ["CUDA_VISIBLE_DEVICES"]

    @app.function(gpu="B200:8")
    def never():
        return 1

    @app.local_entrypoint()
    def main():
        said = {"sees": sees.remote(), "each": list(inner.map(range(0)))}
        for name, call in {"never": never, "outer": outer}.items():
            try:
                call.remote()
            except rekindle.exception.Error as error:
                said[name] = [type(error).__name__, str(error)]
        print(json.dumps(said), flush=True)
"""


def test_callers_get_their_device_or_a_reason(home: Home) -> None:
    recording = machines.RECORDINGS / "one_t4.json"
    (gpu,) = machines.recording("one_t4")["gpus"]
    home.up(**{RECORDING: str(recording)})
    said = home.run(home.script(SCRIPT)).value
    assert said["sees"] == [gpu["uuid"], gpu["uuid"]]
    kind, words = said["never"]
    assert kind == "GpuUnavailableError" and "there is 1 x T4 (15 GiB)" in words
    kind, words = said["outer"]  # the one T4 is held by the very call that waits for it
    assert kind == "GpuUnavailableError" and "wait for this very call" in words

    def devices() -> list[dict[str, object]]:
        agents = home.status()["agents"]
        found: list[dict[str, object]] = agents[0]["stats"]["gpus"]["devices"] if agents else []
        return [one for one in found if not one["runners"]]

    (device,) = wait_until(devices, "a free GPU in the status")
    assert (device["model"], device["memory_bytes"]) == ("T4", 15360 << 20)
    home.rekindle("down")


TEMPLATE = """
    import os, rekindle
    app = rekindle.App("gpu-template")

    @app.cls(gpu="T4", enable_memory_snapshot=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            import cupy.cuda  # in the place of the real one, which cannot be here
            self.said = cupy.cuda.is_available(), cupy.cuda.__file__
            try:
                rekindle.gpu.ready()
            except rekindle.exception.GpuError as error:
                self.refused = str(error)

        @rekindle.method()
        def look(self):
            import cupy.cuda
            there = os.environ.get("REKINDLE_GPUS_EXPECTED")
            return self.said[0], self.refused, cupy.cuda.is_available(), there

    @app.local_entrypoint()
    def main():
        import json
        print(json.dumps(Model().look.remote()), flush=True)
"""


def test_a_template_answers_for_its_runners_and_may_not_begin(home: Home) -> None:
    home.up(**{RECORDING: str(machines.RECORDINGS / "one_t4.json")})
    script = home.script(TEMPLATE)
    (script.parent / "cupy").mkdir()
    (script.parent / "cupy" / "__init__.py").touch()
    (script.parent / "cupy" / "cuda.py").write_text("def is_available():\n    return 'asked'\n")
    said, refused, later, there = home.run(script).value
    assert said is True and "@rekindle.enter()" in refused
    assert (later, there) == ("asked", None)
