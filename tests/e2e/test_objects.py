"""Dict and Queue in runners: by name, as arguments, from async functions; and their commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.e2e.harness import Home

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
    import json, sys
    import rekindle

    app = rekindle.App("sharing")
    by_name = rekindle.Dict.from_name("e2e.counts", create_if_missing=True)
    waiting = rekindle.Queue.from_name("e2e.work", create_if_missing=True)

    @app.function()
    def add(queue, into, n):
        value = queue.get(timeout=60)
        into[n] = value * 10
        by_name[n] = value
        return type(into).__name__, "asyncio" in sys.modules, "grpc" in sys.modules

    @app.function()
    async def add_async(queue, n):
        await by_name.put.aio(n, await queue.get.aio(timeout=60))
        return [key async for key in by_name.keys.aio()]

    @app.cls(enable_memory_snapshot=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            try:
                by_name["loaded"] = True
            except rekindle.exception.ExecutionError as error:
                self.said = str(error)

        @rekindle.enter()
        def begin(self):
            by_name["loaded"] = "snapshot" in self.said
            self.n = by_name["base"]

        @rekindle.method()
        def answer(self):
            return self.n + by_name["base"]

    @app.local_entrypoint()
    def main():
        by_name["base"] = 20
        with rekindle.Dict.ephemeral() as found:
            call = add.spawn(waiting, found, 1)   # it waits for what is put next
            waiting.put(4)
            told = call.get()
            waiting.put(5)
            keys = add_async.remote(waiting, "async")
            model = Model().answer.remote()
            print(json.dumps([told, found[1], by_name[1], by_name["async"], sorted(map(str, keys)),
                              model, by_name["loaded"]]))
"""


def _ours(out: str) -> list[dict[str, Any]]:
    """What a list shows without what other tests have left in the instance."""
    return [one for one in json.loads(out) if one["name"].startswith("e2e.")]


def test_runners_share_them_and_load_no_event_loop_for_it(shared: Home) -> None:
    ended = shared.run(shared.script(SCRIPT))
    keys = ["1", "async", "base"]
    assert ended.value == [["Dict", False, False], 40, 4, 5, keys, 40, True]
    # What the commands show of the same.
    listed = _ours(shared.rekindle("dict", "list", "--json").out)
    assert [(one["name"], one["len"]) for one in listed] == [("e2e.counts", 4)]
    assert listed[0]["bytes"] > 0 and listed[0]["operations"]["put"] > 0
    assert re.search(r"\d Dicts?: [\d,]+ entries", shared.rekindle("status").out)
    assert shared.rekindle("dict", "get", "e2e.counts", "1", "--int").out == "4\n"
    get = ("dict", "get", "e2e.counts", "--repr")
    assert shared.rekindle(*get, "1").out == "4\n"
    assert "no key '(1, 2)'" in shared.rekindle(*get, "(1, 2)", status=1).err
    assert "is no key as" in shared.rekindle(*get, "(1, f())", status=2).err
    assert "loaded" in shared.rekindle("dict", "items", "e2e.counts").out
    assert "no key" in shared.rekindle("dict", "get", "e2e.counts", "2", status=1).err
    shared.rekindle("dict", "clear", "e2e.counts", "--yes")
    assert json.loads(shared.rekindle("dict", "items", "e2e.counts", "--json").out) == []
    shared.rekindle("queue", "create", "e2e.other")
    listed = _ours(shared.rekindle("queue", "list", "--json").out)
    assert {one["name"] for one in listed} == {"e2e.work", "e2e.other"}
    assert shared.rekindle("queue", "len", "e2e.work", "--total").out == "0\n"
    assert shared.rekindle("queue", "peek", "e2e.work", "--json").out == "[]\n"
    shared.rekindle("queue", "clear", "e2e.work", "--all", "--yes")
    for kind, name in (("dict", "e2e.counts"), ("queue", "e2e.work"), ("queue", "e2e.other")):
        shared.rekindle(kind, "delete", name, "--yes")
        assert "no" in shared.rekindle(kind, "delete", name, "--yes", status=1).err
    # As JSON: tables tell ages, which differ from one look to the next.
    assert shared.rekindle("queue", "ls", "--json").out == (
        shared.rekindle("queue", "list", "--json").out
    )


def test_the_crawler_visits_each_page_once(shared: Home) -> None:
    ended = shared.run(ROOT / "examples" / "crawler.py")
    visited, found, known = ended.out.splitlines()
    assert visited == "60 pages visited by 2 runners"
    assert found.startswith("page 59 was found on page ") and known == "60 pages are known"


def test_the_examples_of_the_guide_run_and_print_what_they_say(shared: Home) -> None:
    text = (ROOT / "docs" / "objects.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 2
    ended = shared.python(shared.script("\n".join(blocks)))
    assert ended.out.splitlines() == [
        "3 0 3 True",
        "[('anna', 3), ('ben', 5), ('cleo', 8)]",
        "first ['second', 'third'] None",
        "1",
    ]
