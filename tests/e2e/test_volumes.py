"""Volumes in real programs: at every start, seen by whom and when, deleted, kept in a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.harness import Home, a_home
from tests.hung import hung

_MODEL = """
    import io, json, mmap, os
    import rekindle
    from rekindle.sdk.running import ask_strategy

    app = rekindle.App("shelf")
    shelf = rekindle.Volume.from_name("shelf", create_if_missing=True)
    PLACE = {place!r}

    @app.cls(volumes={{PLACE: shelf}}, enable_memory_snapshot=True, single_use_containers=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            with open(f"{{PLACE}}/weights") as file:
                self.text = file.read()
                self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

        @rekindle.method()
        def look(self, name):
            with open(f"{{PLACE}}/{{name}}", "w") as file:
                file.write(self.text)
            return [self.text, self.mapped[:].decode(), sorted(os.listdir(PLACE))]

    @app.function(volumes={{PLACE: shelf.with_mount_options(read_only=True, sub_path="part")}})
    def part():
        try:
            open(f"{{PLACE}}/new", "w")
        except OSError as error:
            return [os.listdir(PLACE), error.strerror]

    @app.function(volumes={{PLACE: shelf}})
    def lead_out():
        os.symlink("/etc", f"{{PLACE}}/out")

    @app.function(volumes={{PLACE: shelf.with_mount_options(sub_path="out")}})
    def outside():
        return os.listdir(PLACE)

    @app.function(volumes={{PLACE: shelf.with_mount_options(sub_path="out", read_only=True)}})
    def outside_to_read():
        return os.listdir(PLACE)

    def put(path, text):
        with shelf.batch_upload(force=True) as batch:
            batch.put_file(io.BytesIO(text.encode()), path)
"""


@pytest.mark.criu
def test_every_start_has_the_volume_and_a_change_of_what_was_frozen_is_seen(home: Home) -> None:
    place = home.root / "mounted" / "here"
    script = home.script(
        _MODEL.format(place=str(place))
        + """
    @app.local_entrypoint()
    def main(text: str):
        put("weights", text)
        put("part/a", "1")
        found = {"first": Model().look.remote("first"), "part": part.remote()}
        lead_out.remote()
        for strategy in ("fork", "cold"):
            with ask_strategy(strategy):
                found[strategy] = Model().look.remote(strategy)
        for one in (outside, outside_to_read):
            try:
                one.remote()
            except rekindle.exception.StartError as error:
                found[one.name] = str(error)
        # Deleted and made again while its template lives: who starts then has the new one.
        rekindle.Volume.objects.delete("shelf")
        rekindle.Volume.objects.create("shelf")
        put("weights", text)
        with ask_strategy("fork"):
            found["again"] = Model().look.remote("again")
        print(json.dumps(found))
        """
    )
    found = home.run(script, "--text", "one").value
    seen = ["part", "weights"]
    for name in ("outside", "outside_to_read"):  # a part that is a link out of the volume
        assert "leaves" in found[name] or os.strerror(18) in found[name], found
    for name in ("first", "fork", "cold"):
        seen = sorted([*seen, name, *(["out"] if name == "fork" else [])])
        assert found[name] == ["one", "one", seen], name
    assert found["part"] == [["a"], os.strerror(30)]
    assert found["again"] == ["one", "one", ["again", "weights"]]
    assert home.run(script, "--text", "two").value["first"][:2] == ["two", "two"]


@pytest.mark.criu
def test_a_hook_that_is_frozen_works_with_the_volume_that_it_has_as_a_runner_does(
    home: Home,
) -> None:
    script = home.script(
        f"""
        import json, rekindle
        from pathlib import Path
        from rekindle.sdk.running import ask_strategy
        app = rekindle.App("hooked")
        PLACE, STORE = Path({str(home.root / "mounted")!r}), Path({str(home.root / "store")!r})
        held = rekindle.Volume.from_name("held", create_if_missing=True, url=f"file://{{STORE}}")

        def use(name, renamed=False):
            said = []
            with open(PLACE / name, "w"):
                try:
                    held.reload()
                except rekindle.exception.VolumeBusyError as error:
                    said.append(str(PLACE / name) in str(error))
            if renamed:  # It is the one that it has, also where another one has its name by now.
                rekindle.Volume.rename("held", "renamed")
                rekindle.Volume.objects.create("held")
            try:
                rekindle.Volume.from_name("held").commit()
                (STORE / f"beside-{{name}}").touch()
                held.reload()
                said += sorted(one.path for one in held.listdir("/"))
            finally:
                if renamed:
                    rekindle.Volume.objects.delete("held")
                    rekindle.Volume.rename("renamed", "held")
            return said

        @app.cls(volumes={{PLACE: held}}, enable_memory_snapshot=True, single_use_containers=True)
        class Model:
            @rekindle.enter(snap=True)
            def load(self):
                # With names only while nothing else starts, as what does has who has the name then.
                self.said = use("hook", renamed=not (STORE / "beside-hook").exists())

            @rekindle.method()
            def look(self, renamed):
                return [self.said, use("runner", renamed)]

        @app.local_entrypoint()
        def main():
            found = {{}}
            for strategy in ("restore", "fork", "cold"):
                look = Model().look
                look.prepare(strategy)
                with ask_strategy(strategy):
                    found[strategy] = look.remote(renamed=strategy == "cold")
            print(json.dumps(found))
        """
    )
    found = home.run(script).value
    assert list(found) == ["restore", "fork", "cold"]
    for of_hook, of_runner in found.values():
        assert of_hook[:2] == [True, "beside-hook"]
        assert of_runner == [True, "beside-hook", "beside-runner", "hook", "runner"]


@pytest.mark.criu
def test_what_a_frozen_hook_mapped_of_a_volume_is_there_when_it_is_restored(home: Home) -> None:
    place = home.root / "mounted"
    script = home.script(
        _MODEL.format(place=str(place))
        + """
    @app.local_entrypoint()
    def main():
        if "weights" not in [one.path for one in shelf.listdir("/")]:
            put("weights", "frozen")
        record = Model().look.spawn("x")
        print(json.dumps(record.get(timeout=60)[:2]))
        """
    )
    assert home.run(script).value == ["frozen", "frozen"]
    (made,) = home.snapshots()
    restored = home.rekindle("run", "--phases", script)
    assert "restore" in restored.out + restored.err
    assert home.snapshots()[0]["key"] == made["key"]


@pytest.mark.criu
def test_a_user_who_is_not_root_has_it_where_no_directory_can_be_made() -> None:
    name = f"/rekindle-test-{os.getpid()}/here"
    with a_home(61000 + os.getpid() % 1000 if os.geteuid() == 0 else None) as plain:
        script = plain.script(
            _MODEL.format(place=name)
            + """
    @app.local_entrypoint()
    def main():
        if "weights" not in [one.path for one in shelf.listdir("/")]:
            put("weights", "w")
            put("part/a", "1")
        print(json.dumps([Model().look.remote("x"), part.remote(), os.path.exists(PLACE)]))
            """
        )
        expected = [["w", "w", ["part", "weights", "x"]], [["a"], os.strerror(30)], False]
        assert plain.run(script).value == expected
        assert plain.run(script).value == expected  # restored
        assert plain.snapshots()[0]["valid"] is True
    assert not Path(name).parent.exists()


def test_writers_side_by_side_see_each_others_files_and_no_halves(shared: Home) -> None:
    place = shared.scripts / "mounted"
    script = shared.script(
        f"""
        import json, os, rekindle
        app = rekindle.App("side-by-side")
        PLACE = {str(place)!r}
        held = rekindle.Volume.from_name("side-by-side", create_if_missing=True)

        @app.function(volumes={{PLACE: held}}, max_containers=3, single_use_containers=True)
        def write(me, others):
            whole = lambda writer: f"{{writer}}" * 50_000
            halves = 0
            for number in range(30):
                with open(f"{{PLACE}}/.{{me}}", "w") as file:
                    file.write(whole(me))
                os.replace(f"{{PLACE}}/.{{me}}", f"{{PLACE}}/same")  # the last one wins
                with open(f"{{PLACE}}/same") as file:
                    halves += file.read() not in [whole(writer) for writer in range(others)]
            with open(f"{{PLACE}}/of-{{me}}", "w") as file:
                file.write(str(me))
            held.commit()
            while len([one for one in os.listdir(PLACE) if one.startswith("of-")]) < others:
                pass  # until it sees what the others wrote: nothing is to be reloaded here
            return halves

        @app.function(volumes={{PLACE: held}})
        def busy():
            with open(f"{{PLACE}}/same"):
                try:
                    held.reload()
                except RuntimeError as error:
                    said = str(error)
            held.reload()
            return said

        @app.local_entrypoint()
        def main():
            halves = list(write.map(range(3), kwargs={{"others": 3}}))
            files = sorted(one.path for one in held.iterdir("/"))
            print(json.dumps([halves, files, busy.remote()]))
        """
    )
    halves, files, said = shared.run(script).value
    assert halves == [0, 0, 0]
    assert files == ["of-0", "of-1", "of-2", "same"]
    assert f"{place}/same" in said and "close them first" in said


def test_a_store_has_what_was_committed_and_what_a_killed_runner_wrote(home: Home) -> None:
    store = home.root / "store"
    place = home.root / "mounted"
    script = home.script(
        f"""
        import json, os, signal, rekindle
        from pathlib import Path
        app = rekindle.App("stored")
        PLACE, STORE = {str(place)!r}, Path({str(store)!r})
        held = rekindle.Volume.from_name("stored", create_if_missing=True, url=f"file://{{STORE}}")
        bucket = rekindle.CloudBucketMount(f"file://{{STORE}}", key_prefix="lower")

        def stored():
            return {{str(path.relative_to(STORE)): path.read_text()
                    for path in STORE.rglob("*") if path.is_file()}}

        @app.function(volumes={{PLACE: held}})
        def work(name, die=False):
            Path(PLACE, name).write_text(name)
            before = stored()
            if die:
                os.kill(os.getpid(), signal.SIGKILL)
            held.commit()
            (STORE / "from-outside").write_text("x")
            unseen = os.path.exists(f"{{PLACE}}/from-outside")
            held.reload()
            return [before, stored(), unseen, os.path.exists(f"{{PLACE}}/from-outside")]

        @app.function(volumes={{PLACE: bucket}})
        def lower():
            found = sorted(os.listdir(PLACE))
            Path(PLACE, "new").write_text("written")
            return found

        @app.local_entrypoint()
        def main():
            (STORE / "lower").mkdir(parents=True)
            (STORE / "lower" / "there").write_text("1")
            found = [work.remote("one"), lower.remote()]
            try:
                work.remote("two", die=True)
            except rekindle.exception.RunnerLostError:
                pass
            print(json.dumps(found))
        """
    )
    (before, after, unseen, seen), lower = home.run(script, REKINDLE_CRASH_BACKOFF_S="0.05").value
    assert "one" not in before and after["one"] == "one"
    assert (unseen, seen) == (False, True)
    assert lower == ["there"]
    # The instance has ended: the last of it was sent.
    assert (store / "two").read_text() == "two"
    assert (store / "lower" / "new").read_text() == "written"


@pytest.mark.parametrize("how", ["renamed", "its environment renamed", "deleted"])
def test_a_runner_works_with_the_volume_that_it_has_whatever_has_its_name_by_now(
    home: Home, how: str
) -> None:
    place, store = home.root / "mounted", home.root / "store"
    script = home.script(
        f"""
        import json, os, rekindle
        from pathlib import Path
        app = rekindle.App("keeps")
        PLACE, HOW = Path({str(place)!r}), {how!r}
        held = rekindle.Volume.from_name("a", create_if_missing=True, url="file://{store}")

        @app.function(volumes={{PLACE: held}}, min_containers=1, max_containers=1)
        def work(name):
            said = []
            try:
                (PLACE / name).write_text(name)
                held.commit()
                held.reload()
                with open(PLACE / name):
                    try:
                        held.reload()
                    except rekindle.exception.VolumeBusyError:
                        said.append("busy")
                said += sorted(one.path for one in held.listdir("/"))
            except (FileNotFoundError, rekindle.exception.NotFoundError) as error:
                said.append(type(error).__name__)
            try:
                held.commit()
            except rekindle.exception.NotFoundError as error:
                said.append(str(error))
            return [os.getpid(), said]

        @app.local_entrypoint()
        def main():
            from rekindle.volumes.registry import Registry
            found = [work.remote("one")]
            if HOW == "renamed":
                rekindle.Volume.rename("a", "b")
            elif HOW == "deleted":
                rekindle.Volume.objects.delete("a")
            else:
                Registry.default().rename_environment("main", "other")
            new = rekindle.Volume.from_name("a", create_if_missing=True)
            new.listdir("/")
            found.append(work.remote("two"))
            print(json.dumps([found, [one.path for one in new.listdir("/")]]))
        """
    )
    ((first_pid, first), (second_pid, second)), of_new = home.run(script).value
    assert first_pid == second_pid and first == ["busy", "one"] and of_new == []
    if how == "deleted":
        kind, said = second
        assert kind == "FileNotFoundError" and "that this runner has was deleted" in said
        assert not (store / "two").exists()
    else:
        assert second == ["busy", "one", "two"]
        assert (store / "two").read_text() == "two"


@pytest.mark.needs_root("mounts a file system")
@pytest.mark.parametrize("argv", [("volume", "list"), ("run",)])
def test_a_program_that_waits_for_the_directory_of_volumes_says_so(
    home: Home, argv: tuple[str, ...]
) -> None:
    script = home.script(
        """
        import rekindle
        app = rekindle.App("waits")
        shelf = rekindle.Volume.from_name("shelf", create_if_missing=True)

        @app.function(volumes={"/tmp/shelf": shelf})
        def f(): ...
        """
    )
    files = (script,) if argv == ("run",) else ()
    with hung(home.root / "gone") as end:
        place = home.root / "gone" / "volumes"
        program = home.start_rekindle(*argv, *files, REKINDLE_VOLUMES=str(place))
        program.until(f"waiting for the directory of volumes, {place}", "err")
        end()
        assert program.end().status == 1
