"""Files that are damaged: refused with their reason, made anew where that can be, calls served."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, Home, wait_until
from tests.sealed import unsealed

HEAD = """
    import rekindle

    app = rekindle.App("damaged")
"""
CLASS = """
    @app.cls(enable_memory_snapshot=True)
    class {name}:
        @rekindle.enter(snap=True)
        def load(self):
            self.base = 40

        @rekindle.method()
        def add(self, n: int) -> int:
            return self.base + n
"""
MAIN = """
    @app.local_entrypoint()
    def main():
        print(*(model().add.remote(2) for model in [{names}]))
"""


def program(*names: str) -> str:
    """A class for each name, and an entrypoint that calls each."""
    classes = (CLASS.format(name=name) for name in names)
    return HEAD + "".join(classes) + MAIN.format(names=", ".join(names))


MODEL = program("Model")


def _flip_a_bit(snapshot: Path) -> None:
    file = next(path for path in snapshot.rglob("pages-*.img"))
    with open(unsealed(file), "r+b") as pages:
        pages.seek(file.stat().st_size // 2)
        byte = pages.read(1)
        pages.seek(-1, os.SEEK_CUR)
        pages.write(bytes([byte[0] ^ 1]))


def _truncate(snapshot: Path) -> None:
    file = next(path for path in snapshot.rglob("pages-*.img"))
    os.truncate(unsealed(file), file.stat().st_size // 2)


def _remove_an_image(snapshot: Path) -> None:
    next(path for path in snapshot.rglob("core-*.img")).unlink()


def _empty_the_manifest(snapshot: Path) -> None:
    (snapshot / "manifest.json").write_text("")


def _make_it_foreign(snapshot: Path) -> None:
    """As if it had been made by another kernel, under the name that this one looks for."""
    manifest = snapshot / "manifest.json"
    text = manifest.read_text()
    kernel = os.uname().release
    assert kernel in text
    manifest.write_text(text.replace(kernel, "2.6.32"))


#: The class whose snapshot is damaged, in which way, and what is said of it.
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "Flipped": (_flip_a_bit, "pages-"),
    "Truncated": (_truncate, "pages-"),
    "Incomplete": (_remove_an_image, "core-"),
    "Emptied": (_empty_the_manifest, "manifest"),
    "Foreign": (_make_it_foreign, "kernel"),
}


@pytest.mark.criu
def test_a_damaged_snapshot_is_refused_with_its_reason_and_made_again(home: Home) -> None:
    script = home.script(program(*DAMAGES))
    values = " ".join(["42"] * len(DAMAGES)) + "\n"

    def made_of_each() -> dict[str, str] | None:
        # A program that ends with its last call may be gone before that one's snapshot is begun.
        assert home.run(script).out == values
        made = {entry["function"]: entry["key"] for entry in home.snapshots()}
        return made if set(made) == set(DAMAGES) else None

    made = wait_until(made_of_each, "a snapshot of each")
    for name, (damage, says) in DAMAGES.items():
        damage(home.path / "snapshots" / made[name])
        known = json.loads(home.rekindle("snapshot", "inspect", made[name]).out)
        assert known["valid"] is False and says in known["reason"], (name, known)

    ended = home.run(script)
    assert ended.out == values
    refused = [line for line in ended.err.splitlines() if "restore passed over" in line]
    for name, (_damage, says) in DAMAGES.items():
        assert any(f"damaged.{name}" in line and says in line for line in refused), (name, refused)
    again = {entry["function"]: entry for entry in home.snapshots()}
    for name, (_damage, says) in DAMAGES.items():
        assert again[name]["key"] == made[name] and again[name]["valid"], (name, again[name])
        assert says in " ".join(again[name]["made_because"]), (name, again[name])
    last = home.run(script, "--phases")
    assert last.out.startswith(values) and last.out.count(" restore ") == len(DAMAGES)


@pytest.mark.criu
def test_a_snapshot_damaged_or_removed_under_a_running_instance_is_made_again(home: Home) -> None:
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

    home.rekindle("snapshot", "rm", "--all", "--yes")
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


def test_what_a_killed_instance_left_does_not_stop_the_next(home: Home) -> None:
    """Sockets and token, and a queue whose end was cut off, as a power cut leaves it."""
    supervisor = home.up()
    script = home.script(MODEL)
    home.run(script)
    supervisor.kill()
    supervisor.wait(60)
    assert (home.daemon / "controller.sock").exists()
    assert json.loads(home.rekindle("status", "--json", status=1).out)["up"] is False
    private = home.run(script)
    assert private.out == "42\n" and "private" in private.err
    (file,) = (home.daemon / "redis").rglob("*.aof")
    os.truncate(file, file.stat().st_size - 7)
    home.up()
    ended = home.run(script)
    assert ended.out == "42\n" and "private" not in ended.err


def test_a_queue_that_is_garbage_is_named_and_an_empty_token_is_replaced(home: Home) -> None:
    """When the instance is brought up."""
    home.daemon.mkdir(parents=True)
    (home.daemon / "token").write_text("")
    home.up()
    assert len((home.daemon / "token").read_text().strip()) >= 32
    assert home.status()["redis"]["up"] is True
    home.rekindle("down")
    (file,) = (home.daemon / "redis").rglob("*.aof")
    file.write_bytes(b"no queue at all" * 100)
    ended = home.rekindle("up", status=1)
    assert "redis" in ended.err.lower()
    assert "Bad file format" in ended.err or "redis.log" in ended.err
    shutil.rmtree(home.daemon / "redis")
    home.up()


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
