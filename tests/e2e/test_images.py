"""Functions in images: every start, what each sees and writes, and what is left of it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests import images
from tests.e2e.harness import PATIENCE_S, Home, a_home, service, wait_until

pytestmark = [pytest.mark.criu, *images.BUILDS]

#: Of the base.
_PYTHON = "3.13"
_PROGRAM = f"""
    import json, os, sys, threading
    import rekindle
    from rekindle.sdk.running import ask_strategy

    SITE = "/usr/lib/python3/dist-packages"
    base = rekindle.Image.debian_slim({_PYTHON!r})

    MAY = os.geteuid() == 0

    def with_thing(version):
        if not MAY:
            return base  # nobody but root builds
        # Two versions of a package that no image can have both of.
        said = f"VERSION = {{version}}"
        place = f"{{SITE}}/thing"
        return base.run_commands(f"mkdir -p {{place}} && echo '{{said}}' > {{place}}/__init__.py")

    one, two = with_thing(1).env({{"COLOUR": "green"}}).workdir("/srv/work"), with_thing(2)
    app = rekindle.App("in-images")
    shelf = rekindle.Volume.from_name("shelf", create_if_missing=True)
    secret = rekindle.Secret.from_dict({{"KEY": "of-a-runner"}})
    PLACE = "/opt" if MAY else "/root"
    LOG = f"{{PLACE}}/model.log"

    @app.cls(
        image=one, enable_memory_snapshot=True, single_use_containers=True,
        volumes={{"/shelf": shelf}}, secrets=[secret],
    )
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            if MAY:
                import thing
                self.version = thing.VERSION
            self.secret_then = os.environ.get("KEY")
            os.makedirs(f"{{PLACE}}/made")
            with open(f"{{PLACE}}/made/weights", "w") as file:
                file.write("weights")
            if MAY:
                os.unlink("/etc/issue")
            with open("/shelf/of-hook", "w"):
                try:
                    shelf.reload()
                except rekindle.exception.VolumeBusyError:
                    self.busy = True
            shelf.commit()
            self.shelf = [entry.path for entry in shelf.listdir("/")]
            self.log = open(LOG, "a+")
            self.log.write("loaded;")
            self.log.flush()
            self.value = threading.local()  # something of the standard library that is frozen

        @rekindle.method()
        def look(self, name):
            self.log.write(f"{{name}};")
            self.log.flush()
            with open(f"{{PLACE}}/mine", "a") as file:
                file.write(name)
            with open(f"/shelf/{{name}}", "w") as file:
                file.write(name)
            shelf.commit()
            return {{
                "in hook": [self.busy, "of-hook" in self.shelf],
                "listed": [entry.path for entry in shelf.listdir("/") if entry.path == name],
                "python": ".".join(map(str, sys.version_info[:2])),
                "thing": self.version if MAY else None,
                "log": open(LOG).read(),
                "mine": open(f"{{PLACE}}/mine").read(),
                "weights": open(f"{{PLACE}}/made/weights").read(),
                "issue": os.path.exists("/etc/issue"),
                "node": [p for p in (HOME, SCRIPT) if p and os.path.exists(p)],
                "root": sorted(os.listdir("/")),
                "ours": sorted(os.listdir("/.rekindle/lib")),
                "cwd": os.getcwd(),
                "colour": os.environ["COLOUR"],
                "key": [self.secret_then, os.environ["KEY"]],
                "random": os.urandom(4).hex(),
                "left": [p for p in ("/run/criu.kdat",) if os.path.exists(p)],
            }}

        @rekindle.method()
        def each(self, count):
            for number in range(count):
                yield number, open(f"{{PLACE}}/made/weights").read()

        @rekindle.method()
        def fail(self):
            raise LookupError("in the image")

    @app.function(image=two)
    def other():
        import thing
        return thing.VERSION

    @app.function(image=two)
    def apply(function, value):
        return function(value)

    @app.function(image=two)
    def call_another():
        return other.remote()

    HOME, SCRIPT = os.environ.get("REKINDLE_HOME", ""), __file__

    def snapshot_is_there():
        import pathlib, subprocess, time
        command = [pathlib.Path(sys.executable).with_name("rekindle"), "snapshot", "ls", "--json"]
        until = time.monotonic() + 60
        while json.loads(subprocess.run(command, capture_output=True, check=True).stdout) == []:
            assert time.monotonic() < until
            time.sleep(0.1)
"""


def _a_uid() -> int:
    """An id that no one has, nor another process that runs tests."""
    return 61000 + os.getpid() % 1000


@pytest.fixture(scope="module")
def base() -> None:
    """The base is there: made by the first test of all, and kept."""
    images.kept(images.base())


@pytest.fixture
def homes(base: None, home_with_base: Home) -> Home:
    """Its store of layers is its own, and has the base."""
    return home_with_base


def test_every_start_is_in_the_image_and_sees_what_its_template_wrote_and_no_one_else(
    homes: Home,
) -> None:
    script = homes.script(
        _PROGRAM
        + """
    @app.local_entrypoint()
    def main():
        model = Model()
        found = {"first": model.look.remote("first"), "other": other.remote()}
        found["call"] = call_another.remote()
        snapshot_is_there()
        for strategy in ("cold", "fork", "spare", "restore"):
            with ask_strategy(strategy):
                found[strategy] = model.look.remote(strategy)
        found["items"] = list(model.each.remote_gen(2))
        for name, ask in (
            ("error", lambda: model.fail.remote()),
            ("by value", lambda: apply.remote(lambda one: one + 1, 1)),
        ):
            try:
                ask()
            except Exception as error:
                found[name] = [type(error).__name__, str(error)]
        found["shelf"] = sorted(entry.path for entry in shelf.listdir("/"))
        print(json.dumps(found))
        """
    )
    homes.up()
    found = homes.run(script).value
    for name in ("first", "cold", "fork", "spare", "restore"):
        seen = found[name]
        assert seen["python"] == _PYTHON
        assert seen["thing"] == 1
        assert seen["log"] == f"loaded;{name};", name
        assert seen["mine"] == name and seen["listed"] == [name]
        assert seen["weights"] == "weights" and seen["in hook"] == [True, True]
        assert not seen["issue"] and not seen["node"] and not seen["left"], (name, seen)
        assert seen["ours"] == ["cloudpickle", "rekindle"]
        assert seen["cwd"] == "/srv/work" and seen["colour"] == "green"
        # What is never frozen has its secrets from the start.
        assert seen["key"][1] == "of-a-runner"
    assert found["fork"]["key"][0] is None and found["restore"]["key"][0] is None
    assert len({found[name]["random"] for name in ("cold", "fork", "spare", "restore")}) == 4
    assert found["other"] == 2 and found["call"] == 2
    assert found["items"] == [[0, "weights"], [1, "weights"]]
    assert found["error"] == ["LookupError", "in the image"]
    kind, said = found["by value"]
    assert kind == "DeserializationError"
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in said, said
    assert found["shelf"] == ["cold", "first", "fork", "of-hook", "restore", "spare"]
    # The agent is killed: the next one removes what that one left, and serves.
    agent = service(homes.supervisor(), "rekindle.runtime.agent")
    (before,) = homes.daemon.glob("agent-*")
    assert any((before / "roots").iterdir())
    os.kill(agent.pid, signal.SIGKILL)
    again = homes.script(
        _PROGRAM
        + """
    @app.local_entrypoint()
    def main():
        print(json.dumps([Model().look.remote("after")["log"], other.remote()]))
        """,
        "again.py",
    )
    assert homes.run(again).value == ["loaded;after;", 2]
    wait_until(lambda: not before.exists(), "the directory of an agent that was killed to go")
    # So does that of an instance of which all was killed; of that one no mount is left before.
    (before,) = homes.daemon.glob("agent-*")
    supervisor = homes.supervisor()
    of_it = supervisor.children(recursive=True)
    supervisor.kill()
    _gone, left = psutil.wait_procs([supervisor, *of_it], timeout=PATIENCE_S)
    assert not left
    assert str(homes.root) not in Path("/proc/self/mountinfo").read_text()
    homes.up()
    wait_until(lambda: not before.exists(), "the directory of an instance that was killed to go")


def test_once_a_layer_was_built_anew_nothing_is_started_from_what_was_there_before(
    homes: Home,
) -> None:
    script = homes.script(
        """
    import json, os
    import rekindle

    image = rekindle.Image.debian_slim("3.13").run_commands(
        "head -c 8 /dev/urandom | sha256sum > /stamp", force_build="FORCE" in os.environ
    )
    app = rekindle.App("built-anew", image=image)

    @app.cls(enable_memory_snapshot=True, single_use_containers=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.loaded = open("/stamp").read()

        @rekindle.method()
        def look(self):
            return [self.loaded, open("/stamp").read()]

    @app.local_entrypoint()
    def main():
        print(json.dumps(Model().look.remote()))
        """
    )
    homes.up()
    first = homes.run(script).value
    wait_until(homes.snapshots, "a snapshot of the first build")
    assert homes.run(script).value == first
    second = homes.run(script, FORCE="1").value
    # Neither what the template of the first had in its memory, nor its files, nor one of both.
    assert second[0] == second[1] != first[0] == first[1]
    assert homes.run(script).value == second


def test_a_process_that_cannot_be_started_says_why_to_who_called(homes: Home) -> None:
    script = homes.script(
        _PROGRAM
        + """
    IMAGES = base.entrypoint(["/no/such"]), base.entrypoint(["/bin/echo", "it was this"])

    def nothing():
        pass

    calls = [
        app.function(image=image, name=f"f{at}")(nothing)
        for at, image in enumerate((*IMAGES, base.env({"PYTHONHOME": "/nowhere"})))
    ]

    @app.local_entrypoint()
    def main():
        said = []
        for call in calls:
            try:
                call.remote()
            except rekindle.exception.StartError as error:
                said.append(str(error))
        print(json.dumps(said))
        """
    )
    lacking, ended, homeless = homes.run(script).value
    assert "cannot start /no/such: " in lacking and "exit status 127" in lacking
    assert "exit status 0" in ended and "\n    it was this /usr/bin/python3" in ended
    assert "exit status 1" in homeless and "No module named 'encodings'" in homeless


@pytest.mark.parametrize("is_root", [True, False])
def test_local_files_that_meet_lie_over_one_another_at_every_start(
    base: None, tmp_path: Path, *, is_root: bool
) -> None:
    # The layers of one who is not root are root's; the files are of this test alone, so that nobody
    # has kept them before.
    store = images.store_with_base(tmp_path / "images").root if is_root else images.KEPT
    uid = None if is_root else _a_uid()
    with a_home(uid, REKINDLE_IMAGES=str(store)) as home:
        over = f"of the file in {home.root}"
        local = home.root / "local"
        (local / "deep").mkdir(parents=True)
        (local / "cfg").write_text("of the folder")
        (local / "deep" / "more").write_text("more")
        (home.root / "over").write_text(over)
        script = home.script(
            _PROGRAM
            + f"""
    laid = base.add_local_dir({str(local)!r}, "/root").add_local_dir({str(local)!r}, "/")
    laid = laid.add_local_file({str(home.root / "over")!r}, "/root/cfg")

    @app.function(image=laid, enable_memory_snapshot=True, single_use_containers=True)
    def read():
        open("/root/made", "x").close()
        files = "/root/cfg", "/root/deep/more", "/cfg", "/deep/more"
        has_profile = ".bashrc" in os.listdir("/root")
        return [has_profile, *(open(file).read() for file in files)]

    @app.local_entrypoint()
    def main():
        found = [read.remote()]
        snapshot_is_there()
        for strategy in ("cold", "fork", "restore"):
            with ask_strategy(strategy):
                found.append(read.remote())
        print(json.dumps(found))
        """
        )
        # The home of a user who is not root is one of their own: nothing of the image's is in it.
        expected = [is_root, over, "more", "of the folder", "more"]
        assert home.run(script).value == [expected] * 4


def test_code_that_no_import_finds_is_refused_for_an_image_with_another_python(
    homes: Home,
) -> None:
    script = homes.script(
        _PROGRAM
        + """
    @app.function(image=two, serialized=True)
    def by_value():
        return 1
        """
    )
    ended = homes.run(f"{script}::by_value", status=None)
    assert ended.status != 0
    assert "by_value cannot run" in ended.err and f"Python {_PYTHON}" in ended.err, str(ended)


def test_a_user_who_is_not_root_runs_functions_in_images_that_root_has_built(base: None) -> None:
    with a_home(_a_uid(), REKINDLE_IMAGES=str(images.KEPT)) as plain:
        script = plain.script(
            _PROGRAM
            + """
    @app.local_entrypoint()
    def main():
        model = Model()
        found = {"first": model.look.remote("first")}
        snapshot_is_there()
        for strategy in ("fork", "restore"):
            with ask_strategy(strategy):
                found[strategy] = model.look.remote(strategy)
        print(json.dumps(found))
        """
        )
        found = plain.run(script).value
        for name, seen in found.items():
            assert seen["log"] == f"loaded;{name};" and seen["mine"] == name, (name, seen)
            assert seen["python"] == _PYTHON and not seen["node"], (name, seen)
