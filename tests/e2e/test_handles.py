"""Calls by their id: from another process, after a restart of everything, and cancelled."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.harness import Home, wait_until

ADD = """
    import json, pathlib, time, rekindle
    app = rekindle.App("handles")

    @app.function()
    def add_one(n: int) -> int:
        return n + 1

    @app.function(max_containers=1)
    def note(directory: str, n: int) -> None:
        try:
            pathlib.Path(directory, f"begun-{n}").touch()
            while True:
                time.sleep(0.01)
        except rekindle.exception.InputCancellation:
            pathlib.Path(directory, f"cancelled-{n}").touch()
            raise

"""


def test_results_are_found_by_id_after_a_restart_of_everything(home: Home) -> None:
    home.up()
    script = home.script(
        ADD
        + """
    @app.local_entrypoint()
    def main():
        one, many = add_one.spawn(1), add_one.spawn_map(range(1000))
        assert list(many.iter()) == list(range(1, 1001))
        assert one.get() == 2
        print(json.dumps([one.object_id, many.object_id]))
"""
    )
    one, many = home.run(script).value
    home.rekindle("down")
    home.up()
    again = home.script(
        f"""
        import json
        from rekindle import FunctionCall
        one, many = FunctionCall.from_id({one!r}), FunctionCall.from_id({many!r})
        found = [one.get(timeout=0), one.num_inputs(), many.num_inputs(), many.get(index=500)]
        found.append(list(many.iter()) == list(range(1, 1001)))
        one.cancel()
        found.append(one.get())
        print(json.dumps(found))
        """,
        "again.py",
    )
    assert home.python(again).value == [2, 1, 1000, 501, True, 2]


def test_a_cancelled_call_ends_what_runs_and_what_waits_never_starts(
    shared: Home, tmp_path: Path
) -> None:
    script = shared.script(
        ADD
        + f"""
    @app.local_entrypoint()
    def main():
        call = note.spawn_map([{str(tmp_path)!r}] * 20, range(20))
        while not any(pathlib.Path({str(tmp_path)!r}).iterdir()):  # requests overtake each other
            time.sleep(0.01)
        call.cancel()
        told = []
        for index in range(20):
            try:
                call.get(index=index)
            except rekindle.exception.RemoteError as error:
                told.append("cancelled" in str(error))
        print(json.dumps([told == [True] * 20, add_one.remote(1)]))
"""
    )
    assert shared.run(script).value == [True, 2]
    wait_until(lambda: any(tmp_path.glob("cancelled-*")), "the cancellation in the function")
    begun, cancelled = sorted(path.name for path in tmp_path.iterdir())
    assert begun.removeprefix("begun-") == cancelled.removeprefix("cancelled-")


def test_a_queue_that_is_full_is_waited_for_by_maps_and_told_by_spawn(
    home: Home, tmp_path: Path
) -> None:
    home.up(REKINDLE_MAX_PENDING="100")
    script = home.script(
        ADD
        + f"""
    @app.local_entrypoint()
    def main():
        for n in range(110):
            try:
                call = note.spawn({str(tmp_path)!r}, n)
            except rekindle.exception.ResourceExhaustedError as error:
                told = "REKINDLE_MAX_PENDING" in str(error)
                break
        values = list(add_one.map(range(500)))
        call = add_one.spawn_map(range(500))
        print(json.dumps([n, told, values == list(call.iter()) == list(range(1, 501))]))
"""
    )
    assert home.run(script).value == [100, True, True]
