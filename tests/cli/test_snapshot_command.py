"""``rekindle snapshot``: what the store holds, in words and in JSON; removal by name."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rekindle import paths
from rekindle.cli.snapshot import snapshot
from rekindle.cli.tables import duration, size
from rekindle.exception import CriuNotFoundError, InvalidError, SnapshotError
from rekindle.snapshot import budget, criu, machine, seal, use
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.draft import begin
from rekindle.snapshot.mapped.rewrite import Rewritten
from rekindle.snapshot.store import SnapshotStore
from tests import unlistable
from tests.sealed import unsealed
from tests.snapshot.conftest import commit, ingredients, manifest

_CRIU = Criu(("criu",), "4.1.1", "/usr/sbin/criu")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotStore:
    """The store that the commands see, on a machine with a CRIU."""
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    monkeypatch.setattr(criu, "find", lambda: _CRIU)
    return SnapshotStore(paths.snapshots_dir())


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(snapshot, arguments)


def _said(done: Result) -> str:
    """What the main program would show: the output, or the error that it ended with."""
    return done.output + str(done.exception or "")


def _from_here(**changes: object) -> object:
    here = machine.here(_CRIU)
    return ingredients(
        **{
            "kernel": here.kernel,
            "arch": here.arch,
            "cpu_features": here.cpu_features,
            "criu": here.criu,
            **changes,
        }
    )


def test_an_empty_store_says_so(store: SnapshotStore) -> None:
    assert _run("ls").output == "no snapshots\n"
    assert json.loads(_run("ls", "--json").output) == []


def test_each_snapshot_is_listed_with_age_validity_and_why_it_was_made(
    store: SnapshotStore,
) -> None:
    good = commit(store, _from_here(), created=time.time() - 7200)  # type: ignore[arg-type]
    foreign = commit(store, ingredients(kernel="5.10 #1"))
    (store.root / f"sn-{'0' * 20}").mkdir()
    lines = {line.split()[0]: line for line in _run("ls").output.splitlines()[1:]}
    assert len(lines) == 3
    assert "shop" in lines[good.key]
    assert "2 h" in lines[good.key]
    assert "yes" in lines[good.key]
    assert "first snapshot of this function" in lines[good.key]
    assert "no: kernel changed: 5.10 #1" in lines[foreign.key]
    assert "manifest is missing" in lines[f"sn-{'0' * 20}"]
    listed = {row["key"]: row for row in json.loads(_run("ls", "--json").output)}
    assert listed[good.key]["valid"] is True
    assert listed[good.key]["size_bytes"] > 10_000
    assert listed[foreign.key]["valid"] is False


def test_without_a_criu_nothing_is_valid_and_the_reason_is_that(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Criu:
        raise CriuNotFoundError("no working CRIU on this machine")

    monkeypatch.setattr(criu, "find", none)
    commit(store)
    (row,) = json.loads(_run("ls", "--json").output)
    assert (row["valid"], row["reason"]) == (False, "no working CRIU on this machine")


def test_inspect_reads_the_files_and_finds_damage(store: SnapshotStore) -> None:
    made = commit(store, _from_here())  # type: ignore[arg-type]
    known = json.loads(_run("inspect", made.key[:9]).output)
    assert known["valid"] is True
    assert known["path"] == str(made.path)
    assert known["manifest"]["ingredients"]["packages"]["torch"].startswith("2.13.0")
    pages = made.images / "pages-1.img"
    before = pages.stat()
    unsealed(pages).write_bytes(os.urandom(10_000))
    os.utime(pages, ns=(before.st_atime_ns, before.st_mtime_ns))
    known = json.loads(_run("inspect", made.key).output)
    assert known["reason"] == "image file pages-1.img is corrupt: its content changed"


def test_it_is_shown_whether_a_snapshot_is_mapped_and_why_not(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewrite(_plain: Path, target: Path, _at: Path, **_options: object) -> Rewritten:
        target.mkdir()
        kept = {"a stack that grows down": 2}
        return Rewritten(1, "in place", 7, 300 << 20, 5 << 20, 6 << 20, 12.5, kept, ())

    plain = commit(store)
    monkeypatch.setattr(seal, "rewrite", rewrite)
    mapped = commit(store, ingredients(code_digest="other"))
    lines = {line.split()[0]: line for line in _run("ls").output.splitlines()}
    assert "300 MiB" in lines[mapped.key]
    assert " no " in lines[plain.key]
    known = json.loads(_run("inspect", mapped.key).output)
    assert known["mapped"] is True
    assert known["mapping"]["areas"] == 7
    assert known["mapping"]["mapped_bytes"] == 300 << 20
    assert known["mapping"]["copied_bytes"] == 5 << 20
    assert known["mapping"]["kept"] == {"a stack that grows down": 2}
    known = json.loads(_run("inspect", plain.key).output)
    assert (known["mapped"], known["mapping"]) == (False, {})
    assert known["not_mapped_because"].startswith("files.img")


def test_a_snapshot_that_is_not_there_is_an_error(store: SnapshotStore) -> None:
    for command in ("inspect", "rm"):
        done = _run(command, "sn-abc")
        assert done.exit_code == 1
        assert "no snapshot sn-abc" in _said(done)


def test_removal_is_by_name_or_all(store: SnapshotStore) -> None:
    first, second, third = (commit(store, ingredients(code_digest=str(n))) for n in range(3))
    done = _run("rm", first.key, "sn-nothing")
    assert done.exit_code == 1
    assert len(store.list()) == 3  # a mistyped name removes nothing
    assert first.key in _run("rm", first.key).output
    assert {entry.key for entry in store.list()} == {second.key, third.key}
    assert _run("rm").exit_code == 2
    assert _run("rm", "--all", second.key).exit_code == 2
    asked = _run("rm", "--all").exception  # there is no terminal to ask at
    assert isinstance(asked, InvalidError) and "--yes" in str(asked)
    assert _run("rm", "--all", "--yes").exit_code == 0
    nothing = _run("rm", "--all")  # no question
    assert (nothing.exit_code, nothing.output) == (0, "no snapshots\n")
    assert store.list() == []


def test_gc_removes_the_least_recently_used_and_says_what(store: SnapshotStore) -> None:
    first, second, third = (commit(store, ingredients(code_digest=str(n))) for n in range(3))
    for seconds, made in enumerate((second, third, first), 1):
        os.utime(made.path / use.NAME, (seconds, seconds))
    pin = store.pin(third.key)
    assert pin is not None
    told = _run("gc", "--budget", "1", "--dry-run")
    assert told.output.splitlines()[0].startswith(f"would remove {second.key} shop.Model (")
    assert len(store.list()) == 3
    done = _run("gc", "--budget", "1")
    assert [line.split()[:2] for line in done.output.splitlines()[:2]] == [
        ["removed", second.key],
        ["removed", first.key],
    ]
    assert "1 snapshot, " in done.output
    assert done.output.endswith("what is left is in use\n")
    assert _run("gc").output.count("removed") == 0
    assert "no size" in _said(_run("gc", "--budget", "lots"))
    pin.release()
    assert _run("gc", "--budget", "0").exit_code == 0
    assert store.list() == []


def test_du_counts_what_is_shared_once(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(budget.VARIABLE, "2G")
    pages = os.urandom(1 << 20)
    made = []
    for name in "12":
        made_from = ingredients(code_digest=name)
        draft = begin(store, made_from.key())
        (draft.images / "inventory.img").write_bytes(b"x")
        (draft.images / "pages-1.img").write_bytes(pages)
        made.append(draft.commit(manifest(made_from)))
    pin = store.pin(made[0].key)
    assert pin is not None
    text = _run("du").output
    known = json.loads(_run("du", "--json").output)
    pin.release()
    assert "1.0 MiB" in text or "1 MiB" in text
    assert "in use" in next(line for line in text.splitlines() if made[0].key in line)
    assert "1 MiB of it shared" in next(line for line in text.splitlines() if made[1].key in line)
    assert "in all, 1 MiB saved by sharing" in text
    assert "2.0 GiB  budget" in text
    assert "free on the disk" in text
    rows = {row["key"]: row for row in known["snapshots"]}
    assert rows[made[0].key]["in_use"] is True
    assert rows[made[1].key]["shared_bytes"] == 1 << 20
    assert known["total"]["shared_bytes"] == 1 << 20
    assert known["total"]["budget_bytes"] == 2 << 30
    monkeypatch.setenv(budget.VARIABLE, "much")
    assert budget.VARIABLE in _said(_run("du"))


def test_verify_reports_each_and_fails_if_one_is_bad(store: SnapshotStore) -> None:
    good, bad = (commit(store, ingredients(code_digest=name)) for name in "12")
    assert _run("verify", "--all").exit_code == 0
    unsealed(bad.images / "pages-1.img").write_bytes(os.urandom(10_000))
    done = _run("verify", "--all")
    assert done.exit_code == 1
    lines = {line.split()[0]: line for line in done.output.splitlines()}
    assert "good (10 KiB in " in lines[good.key]
    assert "bad: image file pages-1.img is corrupt" in lines[bad.key]
    assert _run("verify", good.key[:12]).exit_code == 0
    assert _run("verify", bad.key).exit_code == 1
    assert _run("verify").exit_code == 2
    assert "no snapshot sn-abc" in _said(_run("verify", "sn-abc"))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (2048, "2 KiB"), (300 << 20, "300 MiB"), (4.2 * (1 << 30), "4.2 GiB")],
)
def test_sizes_are_told_in_round_units(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (120, "2 min"), (7200, "2 h"), (9e5, "10 d")]
)
def test_ages_are_told_in_round_units(seconds: float, text: str) -> None:
    assert duration(seconds, units=1) == text


@pytest.mark.parametrize(
    "arguments", [["ls"], ["du"], ["gc"], ["rm", "a"], ["inspect", "a"], ["verify", "a"]]
)
def test_a_place_of_snapshots_that_is_no_folder_is_said_to_be_so(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    paths.snapshots_dir().touch()
    with pytest.raises(SnapshotError, match=r"cannot be used .*set REKINDLE_HOME"):
        CliRunner().invoke(snapshot, arguments, catch_exceptions=False)


def test_one_that_cannot_be_looked_at_hides_no_other(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = (commit(store, ingredients(code_digest=name)) for name in "12")
    real = os.open

    def opens(path: Any, *more: Any, **given: Any) -> int:
        if str(path).startswith(str(bad.path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *more, **given)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opens)
        listed = {one.key: one.in_use for one in store.list()}
    assert listed == {good.key: False, bad.key: True}


@pytest.mark.parametrize("arguments", [["ls"], ["du"], ["gc"], ["rm", "a"], ["verify", "a"]])
def test_a_place_of_snapshots_that_cannot_be_listed_is_said_to_be_so(
    arguments: list[str], store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlistable.make(monkeypatch, store.root)
    with pytest.raises(SnapshotError, match=r"cannot be used \(Permission denied\)"):
        CliRunner().invoke(snapshot, arguments, catch_exceptions=False)
