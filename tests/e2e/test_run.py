"""``rekindle run``: what a user sees on the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, Home
from tests.e2e.programs import PLAIN
from tests.e2e.shown_phases import phases

CLASS = """
    import rekindle

    app = rekindle.App("classy")

    @app.cls(enable_memory_snapshot=True)
    class Model:
        factor: int = rekindle.parameter(default=3)

        @rekindle.enter(snap=True)
        def load(self):
            print("loading with", self.factor)
            self.weights = [self.factor] * 3

        @rekindle.enter()
        def connect(self):
            self.connected = True

        @rekindle.method()
        def total(self, more: int) -> int:
            assert self.connected
            return sum(self.weights) + more

        @rekindle.exit()
        def leave(self):
            print("leaving", self.factor)

    @app.local_entrypoint()
    def main(factor: int = 3):
        print("total", Model(factor=factor).total.remote(1))
"""


def test_an_entrypoint_runs_here_and_its_function_in_a_runner(home: Home) -> None:
    ended = home.run(home.script(PLAIN), "--n", "21")
    assert ended.out == "doubling 21\nit is 42\n"
    assert "using a private one" in ended.err and ended.err.count("\n") == 1


def test_a_function_is_named_and_its_value_is_printed(shared: Home) -> None:
    ended = shared.run(f"{shared.script(PLAIN)}::double", "--n", "7")
    assert ended.out == "doubling 7\n14\n"


def test_an_argument_of_the_wrong_type_is_wrong_usage(shared: Home) -> None:
    ended = shared.run(shared.script(PLAIN), "--n", "seven", status=2)
    assert "'seven' is no whole number" in ended.err


def test_an_unknown_function_names_the_nearest(shared: Home) -> None:
    ended = shared.run(f"{shared.script(PLAIN)}::doubble", status=1)
    assert "script.py has no 'doubble'; did you mean 'double'?" in ended.err
    assert "script.py::main  (local entrypoint)" in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_file_names_the_nearest(shared: Home) -> None:
    shared.script(PLAIN, "plain.py")
    ended = shared.run("plian.py", status=1)
    assert "there is no file plian.py" in ended.err and "plain.py" in ended.err


def test_a_wrong_decorator_argument_is_refused_at_import(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("wrong")

        @app.function(timeout="soon")
        def f(): ...
        """
    )
    ended = shared.run(script, status=1)
    assert "timeout" in ended.err and "'soon'" in ended.err
    assert "script.py:4" in ended.err
    assert "Traceback" not in ended.err


def test_a_misspelt_decorator_argument_names_the_nearest(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle
        app = rekindle.App("wrong")

        @app.function(timout=3)
        def f(): ...
        """
    )
    ended = shared.run(script, status=1)
    assert "timout" in ended.err and "did you mean 'timeout'" in ended.err


@pytest.mark.criu
def test_a_second_run_restores_the_snapshot_of_the_first(home: Home) -> None:
    script = home.script(CLASS)
    first = home.run(script, "--factor", "2", "--phases")
    assert "total 7\n" in first.out and "loading with 2" in first.out
    assert [row[0] for row in phases(first.out, "Model.total")] == ["cold"]
    (made,) = home.snapshots()
    assert made["valid"] and made["function"] == "Model"
    other = home.run(script, "--factor", "5", "--phases")
    assert "total 16\n" in other.out and "loading with 5" in other.out
    assert [row[0] for row in phases(other.out, "Model.total")] == ["cold"]
    again = home.run(script, "--factor", "2", "--phases")
    assert "total 7\n" in again.out
    assert "loading" not in again.out, "the hook ran again"
    assert [row[0] for row in phases(again.out, "Model.total")] == ["restore"]
    kept = {entry["key"]: entry["created"] for entry in home.snapshots()}
    assert len(kept) == 2 and kept[made["key"]] == made["created"]


@pytest.mark.parametrize("change", [".close()", " = None"])
def test_phases_are_not_shown_where_the_program_has_ended_its_output(
    shared: Home, change: str
) -> None:
    script = shared.script(
        f"""
        import sys, rekindle
        app = rekindle.App("mute")

        @app.function()
        def f(): ...

        @app.local_entrypoint()
        def main():
            f.remote()
            sys.stdout{change}
        """
    )
    ended = shared.run(script, "--phases")
    assert ended.out == "" and "Error" not in ended.err, str(ended)


def test_the_phases_explain_the_total(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle, time
        app = rekindle.App("timed")

        @app.function()
        def nap():
            time.sleep(0.2)

        @app.local_entrypoint()
        def main():
            nap.remote()
            nap.remote()
        """
    )
    rows = phases(shared.run(script, "--phases").out, "nap")
    assert [row[0] for row in rows] == ["cold", "warm"]
    for _strategy, total, parts in rows:
        assert parts["execute"] >= 200
        assert abs(sum(parts.values()) - total) <= 0.05 * total
    assert {"isolate", "interpreter", "import"} <= rows[0][2].keys()
    assert not {"isolate", "interpreter", "import"} & rows[1][2].keys()


def test_the_first_call_imports_nothing_in_its_caller(shared: Home) -> None:
    script = shared.script(
        """
        import json, sys
        import rekindle
        app = rekindle.App("imports")

        @app.function()
        def divide(a, b):
            return a / b

        @app.local_entrypoint()
        def main():
            before = set(sys.modules)
            assert divide.remote(4, b=2) == 2
            print(json.dumps(sorted(set(sys.modules) - before)))
        """
    )
    assert shared.run(script).value == []


def test_exit_hooks_speak_at_the_end(shared: Home) -> None:
    ended = shared.run(shared.script(CLASS))
    lines = ended.out.splitlines()
    assert lines.index("total 10") < lines.index("leaving 3")


def test_output_of_both_streams_arrives_whole_and_in_order(shared: Home) -> None:
    script = shared.script(
        """
        import rekindle, sys, os
        app = rekindle.App("loud")

        @app.function()
        def shout():
            for i in range(500):
                print("out", i)
                print("err", i, file=sys.stderr)
            os.system("echo from a child")
            os.write(1, "zwölf Boxkämpfer\\n".encode())
            sys.stdout.write("no newline at the end")
            return "quiet"

        @app.local_entrypoint()
        def main():
            print(shout.remote())
        """
    )
    ended = shared.run(script)
    out = ended.out.splitlines()
    assert out[:500] == [f"out {i}" for i in range(500)]
    assert set(out[500:502]) == {"from a child", "zwölf Boxkämpfer"}
    assert out[502:] in (["no newline at the end", "quiet"], ["no newline at the endquiet"])
    assert [line for line in ended.err.splitlines() if line.startswith("err")] == [
        f"err {i}" for i in range(500)
    ]


def test_an_async_entrypoint_gathers_calls_of_an_async_function(shared: Home) -> None:
    script = shared.script(
        """
        import asyncio, json, rekindle
        app = rekindle.App("aio")

        @app.function()
        async def double(n):
            await asyncio.sleep(0)
            return 2 * n

        @app.local_entrypoint()
        async def main():
            one = await double.remote.aio(1)
            many = await asyncio.gather(*(double.remote.aio(n) for n in range(5)))
            mapped = [value async for value in double.map.aio([7, 8])]
            call = await double.spawn.aio(10)
            print(json.dumps([one, many, mapped, await call.get.aio(timeout=60)]))
        """
    )
    assert shared.run(script).value == [2, [0, 2, 4, 6, 8], [14, 16], 20]


def test_raw_words_reach_an_entrypoint_that_takes_them(shared: Home) -> None:
    script = shared.script(
        """
        import json, rekindle
        app = rekindle.App("raw")

        @app.function()
        def count(words):
            return len(words)

        @app.local_entrypoint()
        def main(*words):
            print(json.dumps([words, count.remote(words)]))
        """
    )
    assert shared.run(script, "--a", "b", "c=d").value == [["--a", "b", "c=d"], 3]


def test_a_help_page_names_the_options_of_the_entrypoint(shared: Home) -> None:
    ended = shared.run(shared.script(PLAIN), "--help")
    assert "--n INTEGER" in ended.out and "--phases" in ended.out


def test_a_script_that_raises_at_import_shows_its_own_frames_alone(shared: Home) -> None:
    script = shared.script("import rekindle\n\ndef f():\n    return 1 / 0\n\nf()\n")
    ended = shared.run(script, status=1)
    assert "ZeroDivisionError" in ended.err and "script.py" in ended.err
    assert "refs.py" not in ended.err


def test_quiet_leaves_rekindles_own_words_out(home: Home) -> None:
    ended = home.run(home.script(PLAIN), "--quiet")
    assert ended.out == "doubling 4\nit is 8\n"
    assert ended.err == ""


def test_status_is_json_that_says_nothing_is_up(home: Home) -> None:
    ended = home.rekindle("status", "--json", status=1)
    assert json.loads(ended.out) == {"up": False, "directory": str(home.daemon)}


def test_the_first_examples_run(shared: Home) -> None:
    examples = Path(__file__).parents[2] / "examples"
    assert "Hello, Ishmael!" in shared.run(examples / "hello.py", "--name", "Ishmael").out
    said = shared.run(examples / "collatz.py", "--count", "30").out
    assert "of 1 to 30, 27 takes the most: 111" in said


UNREAD = """
    import rekindle, sys, time

    app = rekindle.App("unread")

    @app.function()
    def talk(mark: str):
        try:
            while True:
                print("again")
                time.sleep(0.001)
        finally:
            open(mark, "a").close()

    @app.function()
    def said(mark: str):
        print("lost")
        open(mark, "a").close()

    @app.local_entrypoint()
    def own():
        while True:
            print("own")
"""


@pytest.mark.parametrize("name", ["talk", "own"])
def test_a_program_whose_reader_has_gone_ends_without_a_word_and_its_call_with_it(
    shared: Home, tmp_path: Path, name: str
) -> None:
    script = shared.script(UNREAD)
    mark = tmp_path / "ended"
    words = f"--mark {mark}" if name == "talk" else ""
    line = f"{COMMAND} run -q {script}::{name} {words} | head -1; exit ${{PIPESTATUS[0]}}"
    ended = shared.start("bash", "-c", line).end()
    assert (ended.status, ended.err) == (1, "") and ended.out in ("again\n", "own\n")
    assert name == "own" or mark.exists()


def test_output_that_a_full_disk_does_not_take_is_an_error_when_the_call_has_ended(
    shared: Home, tmp_path: Path
) -> None:
    mark = tmp_path / "said"
    line = f"{COMMAND} run -q {shared.script(UNREAD)}::said --mark {mark} > /dev/full"
    ended = shared.start("bash", "-c", line).end()
    assert ended.status == 1 and mark.exists()
    assert "standard output: No space left on device" in ended.err
    logs = re.search(r"`rekindle (logs ap-\S+)` shows the last lines", ended.err)
    assert logs is not None, ended.err
    assert "lost" in shared.rekindle(*logs[1].split()).out
    private = f"REKINDLE_DIR= REKINDLE_HOME={tmp_path} CI=1 {line}"
    ended = shared.start("bash", "-c", private).end()
    assert ended.status == 1 and "the call itself has ended" in ended.err
    assert "rekindle logs" not in ended.err, "they went with its instance"
