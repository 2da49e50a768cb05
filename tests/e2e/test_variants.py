"""``with_options``: other options, runners of their own, and the same ones for equal options."""

from __future__ import annotations

from tests.e2e.harness import Home

PROGRAM = """
    import json, os, shutil, tempfile, time, rekindle
    from rekindle.exception import FunctionTimeoutError, InvalidError

    app = rekindle.App("variants")

    @app.function(env={"A": "1", "B": "1"}, secrets=[rekindle.Secret.from_dict({"S": "own"})])
    def seen():
        return [os.environ.get(name) for name in ("A", "B", "S")]

    @app.function()
    def nap(seconds):
        time.sleep(seconds)
        return seconds

    @app.function()
    def listed(path):
        return sorted(os.listdir(path)) if os.path.isdir(path) else None

    @app.cls()
    class Model:
        size: int = rekindle.parameter(default=1)

        @rekindle.method()
        def run(self):
            return [self.size, os.environ.get("A")]

        @rekindle.method()
        def both(self):
            return self.run.remote()

        @rekindle.method()
        def stream(self):
            yield from self.run.local()

    # Made again in each runner that imports this.
    third = seen.with_options(env={"A": "3"})

    @app.function()
    def inside(other):
        return [third.remote(), third.object_id, other.remote()]

    @app.local_entrypoint()
    def main():
        second = seen.with_options(env={"A": "2"})
        again = seen.with_options(env={"B": "7"}).with_options(env={"A": "2", "B": "1"})
        given = second.with_options(secrets=[rekindle.Secret.from_dict({"S": "other"})])
        model = Model.with_options(env={"A": "m"})(size=7)
        short = nap.with_options(timeout=1, startup_timeout=60, max_containers=1)
        try:
            short.remote(100)
        except FunctionTimeoutError:
            timed_out = True
        notes = rekindle.Volume.from_name("of-a-variant", create_if_missing=True)
        with notes.batch_upload() as upload:
            upload.put_file(__file__, "/program.py")
        place = tempfile.mkdtemp() + "/notes"
        has_notes = listed.with_options(volumes={place: notes})
        seen_there = [listed.remote(place), has_notes.remote(place)]
        rekindle.Volume.objects.delete("of-a-variant")
        shutil.rmtree(os.path.dirname(place))
        from_runner = inside.remote(given)
        stats = seen.get_current_stats(), third.get_current_stats()
        print(json.dumps([
            seen.remote(), second.remote(), given.remote(),
            second.object_id == again.object_id,
            len({seen.object_id, second.object_id, given.object_id}),
            model.run.remote(), model.both.remote(), list(model.stream.remote_gen()),
            Model(size=2).run.remote(),
            timed_out, short.remote(0), list(short.map([0, 0])),
            from_runner[0], from_runner[1] == third.object_id, from_runner[2],
            seen_there, stats[0].num_total_runners, stats[1].backlog]))
"""


def test_variants_have_options_and_runners_of_their_own(shared: Home) -> None:
    found = shared.run(shared.script(PROGRAM)).value
    assert found == [
        ["1", "1", "own"],
        ["2", "1", "own"],
        ["2", "1", "other"],
        True,
        3,
        [7, "m"],
        [7, "m"],
        [7, "m"],
        [2, None],
        True,
        0,
        [0, 0],
        ["3", "1", "own"],
        True,
        ["2", "1", "other"],
        [None, ["program.py"]],
        0,
        0,
    ]
