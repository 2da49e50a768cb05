"""The instance that ``rekindle up`` keeps, private ones, and who may talk to them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.wire.version import PROTOCOL
from tests.e2e.harness import COMMAND, Home, wait_until
from tests.e2e.shown_phases import phases

COUNTER = """
    import rekindle

    app = rekindle.App("counter")

    @app.cls(enable_memory_snapshot=True)
    class Counter:
        @rekindle.enter(snap=True)
        def load(self):
            print("loading")
            self.start = 40

        @rekindle.method()
        def add(self, n: int) -> int:
            return self.start + n

    @app.local_entrypoint()
    def main():
        print(Counter().add.remote(2))
"""


WAITS = """
    import time
    import rekindle

    app = rekindle.App("waits")

    @app.function()
    def wait():
        print("waiting", flush=True)
        while True:
            time.sleep(1)
"""


@pytest.mark.criu
def test_up_status_run_down(home: Home) -> None:
    """What is up keeps what a former run has loaded; after down and up, a snapshot of it."""
    supervisor = home.up()
    again = home.rekindle("up")
    assert "is up already" in again.out and str(supervisor.pid) in again.out
    assert home.supervisor() == supervisor

    report = json.loads(home.rekindle("status", "--json").out)
    assert report["up"] is True and report["directory"] == str(home.daemon)
    assert [agent["connected"] for agent in report["agents"]] == [True]
    assert report["apps"] == []
    for secret in (home.daemon / "token", home.daemon):
        assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0

    script = home.script(COUNTER)
    ended = home.run(script)
    # A result goes straight to the program, lines go by the controller: either may be first.
    assert sorted(ended.out.splitlines()) == ["42", "loading"]
    assert "private" not in ended.err
    assert not list((home.path / "run").glob("*")) if (home.path / "run").exists() else True
    plain = home.rekindle("status").out
    assert "No app is running." in plain and "connected" in plain
    ended = home.run(script, "--phases")
    assert ended.out.startswith("42\n"), "the hook did not run again"
    assert phases(ended.out, "Counter.add")[0][0] in ("fork", "restore", "spare")

    waits = home.start_rekindle("run", home.script(WAITS, "waits.py"))
    waits.until("waiting")
    assert home.rekindle("down").out == "The instance is down.\n"
    told = waits.end()
    assert told.status == 1 and "has ended while it was in use" in told.err, str(told)
    assert "`rekindle down` took it down" in told.err and "grpc" not in told.err.lower()
    assert not supervisor.is_running() or supervisor.status() == "zombie"
    assert home.rekindle("down").out == "No instance is up.\n"
    assert home.rekindle("status", status=1).out.startswith("No instance is up.")

    home.up()
    ended = home.run(script, "--phases")
    assert ended.out.startswith("42\n")
    assert phases(ended.out, "Counter.add")[0][0] == "restore"


def test_daemons_have_all_descriptors_that_they_may_and_runners_what_was_given(home: Home) -> None:
    limited = ("/bin/sh", "-c", 'ulimit -Sn 300 && exec "$@"', "sh")
    ended = home.start(*limited, COMMAND, "up").end()
    assert ended.status == 0, str(ended)
    supervisor = home.supervisor()
    assert supervisor.rlimit(psutil.RLIMIT_NOFILE)[0] == 300
    for module in ("rekindle.controller", "rekindle.runtime.agent"):
        (daemon,) = [one for one in supervisor.children() if module in one.cmdline()]
        soft, hard = daemon.rlimit(psutil.RLIMIT_NOFILE)
        assert soft == hard > 300, module
    script = home.script(
        """
        import resource
        import rekindle

        app = rekindle.App("limits")

        @app.function()
        def limit() -> int:
            return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

        @app.local_entrypoint()
        def main():
            print(limit.remote())
        """
    )
    assert home.run(script).out == "300\n"


def test_a_program_runs_its_app_itself(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("own")

        class Point:
            def __init__(self, x):
                self.x = x

        @app.function()
        def mirror(point):
            print("not shown without enable_output")
            return Point(-point.x)

        if __name__ == "__main__":
            with app.run():
                print(mirror.remote(Point(3)).x)
            with rekindle.enable_output(), app.run():
                print(mirror.remote(Point(4)).x)
        """
    )
    assert shared.python(script).out == "-3\nnot shown without enable_output\n-4\n"


def test_an_app_is_not_run_within_an_app_that_runs(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("twice")

        @app.function()
        def f():
            return "f"

        @app.function()
        def within():
            with app.run():
                return f.remote()

        @app.local_entrypoint()
        def main():
            for attempt in (app.run, within.remote):
                try:
                    attempt()
                except rekindle.exception.InvalidError as error:
                    print(error)
            print(f.remote())
        """
    )
    first, second, third = shared.run(script).out.splitlines()
    assert "is running already" in first and "without another app.run()" in first
    assert "inside a runner" in second
    assert third == "f"


def test_a_script_that_runs_its_app_at_import_is_told_where_to_put_it(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("eager")

        @app.function()
        def f(): ...

        with app.run():
            f.remote()
        """
    )
    ended = shared.run(script, status=1)
    assert "is being imported" in ended.err and "__main__" in ended.err
    assert "script.py:7" in ended.err


def test_a_call_without_a_running_app_says_how_to_run_one(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("asleep")

        @app.function()
        def f(): ...

        f.remote()
        """
    )
    ended = shared.python(script, status=1)
    assert "ExecutionError" in ended.err and "app.run()" in ended.err


def test_a_wrong_token_is_an_auth_error(shared: Home) -> None:
    """The client reads a directory of its own, whose socket is that of the real controller."""
    foreign = shared.scripts / "foreign"
    foreign.mkdir()
    (foreign / "token").write_text("another\n")
    (foreign / "controller.sock").symlink_to(shared.daemon / "controller.sock")
    ended = shared.run(shared.script(COUNTER), REKINDLE_DIR=str(foreign), status=1)
    assert "AuthError" in ended.err and "token" in ended.err
    assert "42" not in ended.out


def test_a_directory_that_is_no_instance_is_named(shared: Home) -> None:
    ended = shared.run(shared.script(COUNTER), REKINDLE_DIR=str(shared.scripts), status=1)
    assert "is no instance directory" in ended.err and str(shared.scripts) in ended.err


def test_another_protocol_is_a_version_error_that_says_what_to_do(shared: Home) -> None:
    script = shared.script(COUNTER)
    program = shared.script(
        f"""
        import sys
        from rekindle.wire import version
        version.PROTOCOL = {PROTOCOL + 1}
        from rekindle.cli.main import main
        main(["run", {str(script)!r}])
        """,
        "newer.py",
    )
    ended = shared.python(program, status=1)
    assert "VersionError" in ended.err
    assert str(PROTOCOL) in ended.err and str(PROTOCOL + 1) in ended.err
    assert "update the controller, then restart" in ended.err
    assert "concurrent/futures" not in ended.err, "a place that is none of the user's"


def test_what_a_newer_rekindle_has_written_is_left_alone_and_said(home: Home) -> None:
    home.up()
    with redis.Redis(unix_socket_path=str(redis_socket(home.daemon))) as client:
        (key,) = client.keys("rk:protocol:*")
        assert int(client.get(key)) == PROTOCOL
        client.set(key, PROTOCOL + 1)
    home.rekindle("down")
    refused = home.rekindle("up", status=1)
    assert f"was written by a newer rekindle (protocol {PROTOCOL + 1};" in refused.err
    assert "install that one again" in refused.err and "log" not in refused.err


def test_the_limit_of_the_controller_holds_on_every_way_for_arguments_and_results(
    home: Home,
) -> None:
    """The program and its runners have not heard of it but from the controller."""
    home.up(REKINDLE_MAX_PAYLOAD_BYTES=str(1 << 20))
    script = home.script(
        """
        import asyncio, json, rekindle
        from rekindle.sdk.calls import lease
        app = rekindle.App("big")
        BELOW, ABOVE = (1 << 20) - 1000, (1 << 20) + 1000

        @app.function()
        def grow(data, times):
            return data * times

        @app.function()
        def fail(data, size):
            raise ValueError("told", b"x" * size)

        WAYS = {
            "first": lambda f, *args: f.remote(*args),
            "direct": lambda f, *args: f.remote(*args),
            "aio": lambda f, *args: asyncio.run(f.remote.aio(*args)),
            "spawn": lambda f, *args: f.spawn(*args).get(),
            "map": lambda f, *args: next(iter(f.map([args[0]], [args[1]]))),
            "map exceptions": lambda f, *args: list(
                f.map([args[0]], [args[1]], return_exceptions=True)
            )[0],
        }

        def said(way, *args):
            try:
                got = WAYS[way](*args)
            except Exception as error:
                got = error
            if isinstance(got, ValueError):
                return [got.args[0], len(got.args[1])]
            return f"{type(got).__name__}: {got}" if isinstance(got, Exception) else len(got)

        @app.local_entrypoint()
        def main():
            found, leased = {}, False
            for way in WAYS:
                found[way] = [
                    said(way, grow, b"x" * BELOW, 1),
                    said(way, grow, b"x", BELOW),
                    said(way, grow, b"x" * ABOVE, 0),
                    said(way, grow, b"x", ABOVE),
                    said(way, fail, b"x", 1000),
                ]
                leased = leased or bool(lease.held)  # it may be taken back later
            assert leased, "none was leased"
            print(json.dumps(found))
        """
    )
    found = home.run(script).value
    below = (1 << 20) - 1000
    for way, (argument, result, large_argument, large_result, failure) in found.items():
        assert (argument, result) == (below, below), way
        for said in (large_argument, large_result):
            assert said.startswith("RequestSizeError: "), way
            assert "limit of 1.0 MiB" in said, way
            assert "REKINDLE_MAX_PAYLOAD_BYTES where the" in said, way
        assert failure == ["told", 1000], way


def test_secrets_and_environment_reach_the_runner_and_nothing_on_disk(
    home: Home, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PASSPHRASE=swordfish-4711\n")
    script = home.script(
        f"""
        import json, os, rekindle
        app = rekindle.App("secretive")

        @app.cls(
            enable_memory_snapshot=True,
            env={{"COLOUR": "blue"}},
            secrets=[rekindle.Secret.from_dotenv({str(tmp_path)!r})],
        )
        class Vault:
            @rekindle.enter(snap=True)
            def load(self):
                self.at_load = os.environ.get("PASSPHRASE")

            @rekindle.method()
            def open(self):
                return [os.environ["COLOUR"], os.environ["PASSPHRASE"], self.at_load]

        @app.local_entrypoint()
        def main():
            print(json.dumps(Vault().open.remote()))
        """
    )
    assert home.run(script).value == ["blue", "swordfish-4711", None]
    assert home.run(script).value == ["blue", "swordfish-4711", None]
    assert len(home.snapshots()) == 1
    found = subprocess.run(
        ["grep", "-rl", "swordfish-4711", str(home.path), str(home.temporary)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.stdout == ""


def test_a_private_instance_is_gone_when_its_program_is(home: Home) -> None:
    """Ended by SIGTERM and by an exception; other ends are in tests/sdk/local/test_session.py."""
    script = home.script(
        """
        import os, signal, rekindle
        app = rekindle.App("ending")

        @app.function()
        def f():
            return os.environ["REKINDLE_DIR"]

        @app.local_entrypoint()
        def main(how: str):
            print(f.remote(), flush=True)
            if how == "raise":
                raise RuntimeError("on purpose")
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        """
    )
    for how, status in (("raise", 1), ("term", 143)):
        ended = home.run(script, "--how", how, status=status)
        directory = ended.out.strip()
        assert directory.startswith(str(home.path / "run"))
        wait_until(lambda: not list((home.path / "run").iterdir()), "the directory to be removed")


def test_the_python_prompt_way_without_a_file(shared: Home) -> None:
    code = (
        "import rekindle\n"
        "app = rekindle.App('prompt')\n"
        "@app.function()\n"
        "def triple(n): return 3 * n\n"
        "with app.run():\n"
        "    print(triple.remote(5))\n"
    )
    ended = shared.start(sys.executable, "-c", code).end()
    assert (ended.status, ended.out) == (0, "15\n"), str(ended)


def test_the_report_of_status_is_shaped_as_documented(shared: Home) -> None:
    report = json.loads(shared.rekindle("status", "--json").out)
    assert {"version", "uptime_s", "redis", "agents", "apps", "up", "directory"} <= report.keys()
    agent = report["agents"][0]
    assert {"agent_id", "host", "connected", "max_runners", "in_flight", "stats"} <= agent.keys()


def test_a_program_is_told_which_of_its_settings_the_instance_that_is_up_does_not_have(
    home: Home,
) -> None:
    home.up(REKINDLE_MAX_RUNNERS="3")
    script = home.script(COUNTER)
    others = {"REKINDLE_STORE_URL": "file:///nowhere", "REKINDLE_MAX_RUNNERS": "4"}
    ended = home.run(script, **others)
    (told,) = [line for line in ended.err.splitlines() if "do nothing here" in line]
    assert "REKINDLE_MAX_RUNNERS, REKINDLE_STORE_URL do nothing" in told and "rekindle up" in told
    assert "does nothing" not in home.run(script, REKINDLE_MAX_RUNNERS="3").err
    again = home.rekindle("up", REKINDLE_MAX_RUNNERS="4")
    assert "REKINDLE_MAX_RUNNERS does nothing here" in again.out + again.err
    assert "nothing here" not in home.rekindle("status", **others).err


def test_a_program_is_told_which_of_its_settings_hold_for_itself_but_not_for_its_runners(
    home: Home,
) -> None:
    other = home.root / "other"
    home.up(REKINDLE_HOME=str(other))
    try:
        own = str(home.root / "volumes")
        settings = {"REKINDLE_VOLUMES": own, "REKINDLE_VOLUMES_URL": (home.root / "there").as_uri()}
        named = {"REKINDLE_DIR": str(other / "daemon"), **settings}
        script = home.script(
            """
            import os
            import rekindle

            app = rekindle.App("places")

            @app.function()
            def of_runner():
                return os.environ["REKINDLE_VOLUMES"]

            @app.local_entrypoint()
            def main():
                rekindle.Volume.objects.create("data", allow_existing=True)
                print(of_runner.remote())
            """
        )
        told = home.run(script, **named)
        assert told.out.strip() == str(other / "volumes")
        assert (Path(own) / "main" / "data").is_dir()
        for setting in settings:
            assert f"{setting} is for programs alone here" in told.err
        assert "nothing here" not in told.err
        assert "unset REKINDLE_DIR" in told.err and "rekindle down" not in told.err
        named |= {"REKINDLE_HOME": str(other), "REKINDLE_MAX_RUNNERS": "4"}
        again = home.run(script, **named)
        assert "REKINDLE_MAX_RUNNERS does nothing here; REKINDLE_VOLUMES is for" in again.err
        assert "`rekindle down`, then `rekindle up`" in again.err
    finally:
        home.rekindle("down", REKINDLE_HOME=str(other))
