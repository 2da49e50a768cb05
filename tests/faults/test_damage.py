"""Files that are damaged: refused with their reason, made anew where that can be, calls served."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, Home

MODEL = """
    import rekindle

    app = rekindle.App("damaged")

    @app.cls(enable_memory_snapshot=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.base = 40

        @rekindle.method()
        def add(self, n: int) -> int:
            return self.base + n

    @app.local_entrypoint()
    def main():
        print(Model().add.remote(2))
"""


def _images(snapshot: Path) -> list[Path]:
    return sorted(
        (path for path in snapshot.rglob("*") if path.is_file() and path.suffix in (".img", "")),
        key=lambda path: path.stat().st_size,
    )


def _flip_a_bit(snapshot: Path) -> None:
    file = next(path for path in snapshot.rglob("pages-*.img"))
    file.chmod(0o600)
    with open(file, "r+b") as pages:
        pages.seek(file.stat().st_size // 2)
        byte = pages.read(1)
        pages.seek(-1, os.SEEK_CUR)
        pages.write(bytes([byte[0] ^ 1]))


def _truncate(snapshot: Path) -> None:
    file = next(path for path in snapshot.rglob("pages-*.img"))
    os.truncate(file, file.stat().st_size // 2)


def _remove_an_image(snapshot: Path) -> None:
    next(path for path in snapshot.rglob("core-*.img")).unlink()


def _empty_the_manifest(snapshot: Path) -> None:
    (snapshot / "manifest.json").write_text("")


def _make_it_foreign(snapshot: Path) -> None:
    """As if it had been made by another kernel, under the name that this one looks for."""
    manifest = snapshot / "manifest.json"
    told = json.loads(manifest.read_text())
    text = json.dumps(told)
    kernel = os.uname().release
    assert kernel in text
    manifest.write_text(text.replace(kernel, "2.6.32"))


@pytest.mark.criu
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_flip_a_bit, "pages-"),
        (_truncate, "pages-"),
        (_remove_an_image, "core-"),
        (_empty_the_manifest, "manifest"),
        (_make_it_foreign, "kernel"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else None,
)
def test_a_damaged_snapshot_is_refused_with_its_reason_and_made_anew(
    home: Home, damage: Callable[[Path], None], says: str
) -> None:
    script = home.script(MODEL)
    home.run(script)
    (made,) = home.snapshots()
    snapshot = home.path / "snapshots" / made["key"]
    damage(snapshot)
    known = json.loads(home.rekindle("snapshot", "inspect", made["key"]).out)
    assert known["valid"] is False and says in known["reason"], known

    ended = home.run(script)
    assert ended.out == "42\n"
    assert "restore passed over" in ended.err and says in ended.err
    (anew,) = home.snapshots()
    assert anew["key"] == made["key"] and anew["valid"]
    assert says in " ".join(anew["made_because"])
    again = home.run(script, "--phases")
    assert again.out.startswith("42\n") and " restore " in again.out


@pytest.mark.criu
def test_a_snapshot_damaged_under_a_running_instance_is_refused(home: Home) -> None:
    home.up()
    script = home.script(MODEL)
    home.run(script)
    (made,) = home.snapshots()
    _flip_a_bit(home.path / "snapshots" / made["key"])
    for _ in range(2):
        assert home.run(script).out == "42\n"
    home.rekindle("down")
    home.up()
    assert home.run(script).out == "42\n"
    assert [entry["valid"] for entry in home.snapshots()] == [True]


@pytest.mark.criu
def test_a_snapshot_removed_under_a_running_instance_is_no_matter(home: Home) -> None:
    home.up()
    script = home.script(MODEL)
    home.run(script)
    home.rekindle("snapshot", "rm", "--all")
    assert home.run(script).out == "42\n"
    home.rekindle("down")
    home.up()
    assert home.run(script).out == "42\n"
    assert len(home.snapshots()) == 1


def test_sources_that_were_damaged_are_unpacked_again(home: Home) -> None:
    home.script("WORD = 'whole'", "module_of_test.py")
    script = home.script(
        """
        import rekindle, module_of_test
        app = rekindle.App("sourced")

        @app.function()
        def speak():
            import module_of_test
            return module_of_test.WORD

        @app.local_entrypoint()
        def main():
            print(speak.remote())
        """
    )
    assert home.run(script).out == "whole\n"
    (unpacked,) = (home.path / "sources").glob("*/module_of_test.py")
    unpacked.unlink()
    assert home.run(script).out == "whole\n"


def test_a_queue_whose_end_was_cut_off_is_read_up_to_there(home: Home) -> None:
    """As a power cut leaves it."""
    supervisor = home.up()
    home.run(home.script(MODEL))
    supervisor.kill()
    supervisor.wait(10)
    (file,) = (home.daemon / "redis").rglob("*.aof")
    os.truncate(file, file.stat().st_size - 7)
    home.up()
    assert home.run(home.script(MODEL)).out == "42\n"


def test_a_queue_that_is_garbage_is_named_when_the_instance_is_brought_up(home: Home) -> None:
    home.up()
    home.rekindle("down")
    (file,) = (home.daemon / "redis").rglob("*.aof")
    file.write_bytes(b"no queue at all" * 100)
    ended = home.rekindle("up", status=1)
    assert "redis" in ended.err.lower()
    assert "Bad file format" in ended.err or "redis.log" in ended.err
    shutil.rmtree(home.daemon / "redis")
    home.up()


def test_sockets_and_token_of_a_killed_instance_do_not_stop_the_next(home: Home) -> None:
    supervisor = home.up()
    supervisor.kill()
    supervisor.wait(10)
    assert (home.daemon / "controller.sock").exists()
    assert json.loads(home.rekindle("status", "--json", status=1).out)["up"] is False
    private = home.run(home.script(MODEL))
    assert private.out == "42\n" and "private" in private.err
    home.up()
    ended = home.run(home.script(MODEL))
    assert ended.out == "42\n" and "private" not in ended.err


def test_an_empty_token_is_replaced(home: Home) -> None:
    home.daemon.mkdir(parents=True)
    (home.daemon / "token").write_text("")
    home.up()
    assert len((home.daemon / "token").read_text().strip()) >= 32
    assert home.status()["up"] is True


def test_a_private_directory_that_a_killed_instance_left_is_swept(home: Home) -> None:
    script = home.script(
        """
        import os, signal, psutil, rekindle
        app = rekindle.App("abrupt")

        @app.function()
        def f(): ...

        @app.local_entrypoint()
        def main():
            f.remote()
            for child in psutil.Process().children():
                child.kill()
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    home.run(script, status=-9)
    assert len(list((home.path / "run").iterdir())) == 1
    home.run(home.script(MODEL))
    assert not list((home.path / "run").iterdir())


def test_a_home_that_cannot_be_written_is_named(home: Home) -> None:
    home.path.write_text("a file where a directory should be")
    for command in (["up"], ["run", str(home.script(MODEL))]):
        ended = home.start(COMMAND, *command).end()
        assert ended.status == 1
        assert str(home.path) in ended.err
        assert "Traceback" not in ended.err, str(ended)
    home.path.unlink()
