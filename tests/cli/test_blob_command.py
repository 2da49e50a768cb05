"""``rekindle blob``: what a store holds, and what goes."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rekindle.blobs import transfer
from rekindle.blobs.store import open_store
from rekindle.cli.blob import blob
from rekindle.exception import BlobStoreError, InvalidError, NotFoundError


def _run(*argv: str) -> Result:
    return CliRunner().invoke(blob, list(argv))


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a store with a snapshot in it, and something that nothing names."""
    url = (tmp_path / "store").as_uri()
    monkeypatch.setenv("REKINDLE_STORE_URL", url)
    store = open_store(url)
    for name in ("named", "unnamed"):
        (tmp_path / name).write_bytes(os.urandom(5000))
    pushed = transfer.push(store, tmp_path / "named")
    transfer.push(store, tmp_path / "unnamed")
    store.put_ref("snapshots", "sn-1", [pushed.blob], {"app": "a", "function": "f"})
    return url


def test_what_has_a_name_is_listed_and_the_rest_told(url: str) -> None:
    assert "sn-1" in _run("list").output and "a/f" in _run("list").output
    (listed,) = json.loads(_run("list", "--json").output)
    assert (listed["name"], listed["size_bytes"], listed["whole"]) == ("sn-1", 5000, True)
    told = json.loads(_run("du", "--json").output)
    assert told["names"] == 1 and 5000 <= told["unnamed_bytes"] < 6000
    assert "1 name, " in _run("du", "--url", url).output


def test_what_nothing_names_goes_when_it_is_old_and_names_when_asked(url: str) -> None:
    assert "0 objects" in _run("gc").output and "2 more are too young" in _run("gc").output
    assert "2 objects" in _run("gc", "--all", "--dry-run").output
    assert "2 objects" in _run("gc", "--all").output
    unknown = _run("rm", "sn-2").exception
    assert isinstance(unknown, NotFoundError) and "sn-2" in str(unknown)
    unasked = _run("rm", "sn-1").exception
    assert isinstance(unasked, InvalidError) and "sn-1" in str(unasked)
    assert "sn-1 is no longer named" in _run("rm", "sn-1", "--yes").output
    _run("gc", "--all")
    assert "nothing has a name" in _run("list").output
    assert json.loads(_run("du", "--json").output)["stored_bytes"] == 0


def test_a_name_is_taken_out_by_what_is_shown_of_it(url: str) -> None:
    store = open_store(url)
    layers = ["a" * 12 + "1" * 20, "b" * 12 + "1" * 20, "b" * 12 + "2" * 20]
    for name in layers:
        store.put_ref("layers", name, [], {})
    assert f"{layers[0]} is no longer named" in _run("rm", "a" * 12, "--yes").output
    several = _run("rm", "b" * 12).exception
    assert isinstance(several, InvalidError) and layers[1] in str(several)
    assert isinstance(_run("rm", "b" * 11).exception, NotFoundError)
    assert isinstance(_run("rm", layers[1], "c" * 12).exception, NotFoundError)
    assert {ref.name for ref in store.refs()} == {"sn-1", *layers[1:]}


def test_without_a_store_it_is_said_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REKINDLE_STORE_URL", raising=False)
    problem = _run("list").exception
    assert isinstance(problem, InvalidError) and "--url" in str(problem)


def test_a_store_that_is_not_there_yet_or_cannot_be_reached_is_not_taken_for_an_empty_one(
    tmp_path: Path,
) -> None:
    made, unmade = tmp_path / "made", tmp_path / "unmade"
    made.mkdir()
    assert "no such bucket or folder yet" not in _run("list", "--url", made.as_uri()).output
    said = f"there is no store {unmade.as_uri()}: no such bucket or folder yet\n"
    for command in ("list", "du", "gc"):
        assert _run(command, "--url", unmade.as_uri()).output == said
    for store, there in ((made, True), (unmade, False)):
        told = json.loads(_run("du", "--json", "--url", store.as_uri()).output)
        assert (told["there"], told["names"]) == (there, 0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"ftp://127.0.0.1:{closed.getsockname()[1]}/s"
        for command in ("list", "du", "gc"):
            problem = _run(command, "--url", url).exception
            assert isinstance(problem, BlobStoreError) and url in str(problem)
