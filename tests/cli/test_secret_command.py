"""``rekindle secret``: values come in by arguments, files and standard input, and never out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.controller.storage import keys
from tests.cli.command import _MAIN, PATIENCE_S, environ, rekindle
from tests.controller.harness import Instance

VALUE = "swordfish-4715"


def create(
    instance: Instance, *argv: str, stdin: str | bytes = "", status: int = 0, **more: str
) -> str:
    """``rekindle secret create`` with something on standard input; all that it said."""
    ended = subprocess.run(
        [sys.executable, "-c", _MAIN, "secret", "create", *argv],
        env=environ(instance.directory, **more),
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == status, said
    assert VALUE not in said
    return said


def test_secrets_are_made_from_every_source_listed_replaced_and_deleted(
    shared: Instance, tmp_path: Path
) -> None:
    dotenv, values = tmp_path / ".env", tmp_path / "values.json"
    dotenv.write_text(f"D={VALUE}\nX=1\n")
    values.write_text(json.dumps({"J": VALUE, "X": "2"}))
    said = create(
        *(shared, "cli-all", "A=1", "B=-", "X=3"),
        *("--from-dotenv", str(dotenv), "--from-json", str(values)),
        stdin=f"{VALUE}\n",
    )
    assert "cli-all has A, B, D, J, X" in said
    assert "--force" in create(shared, "cli-all", f"A={VALUE}", status=1)
    create(shared, "cli-all", "--from-json", "-", "--force", stdin=json.dumps({"S": VALUE}))
    create(shared, "cli-env", "--from-dotenv", "-", "-e", "cli", stdin=f"S={VALUE}\n")
    listed = rekindle(shared.directory, "secret", "list", "--json").stdout
    (row,) = [row for row in json.loads(listed) if row["name"] == "cli-all"]
    assert row["variables"] == ["S"]
    assert VALUE not in listed
    shown = rekindle(shared.directory, "secret", "list", "--env", "cli").stdout
    assert "cli-env" in shown and "cli-all" not in shown
    unasked = rekindle(shared.directory, "secret", "delete", "cli-all", status=1).stderr
    assert "add --yes" in unasked
    rekindle(shared.directory, "secret", "delete", "cli-all", "--yes")
    for yes in ((), ("-y",)):  # nothing is asked about one that is not there
        missing = rekindle(shared.directory, "secret", "delete", "cli-all", *yes, status=1).stderr
        assert "no secret 'cli-all'" in missing
        rekindle(shared.directory, "secret", "delete", "cli-all", "--allow-missing", *yes)


def test_what_is_wrong_is_said_without_a_value(shared: Instance, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text(VALUE)
    for argv, status in (
        (["cli-bad", VALUE], 2),
        (["cli-bad"], 2),
        (["cli-bad", "A=-", "B=-"], 2),
        (["cli-bad", f"={VALUE}"], 1),
        (["cli-bad", "--from-dotenv", str(bad)], 1),
        (["cli-bad", "--from-dotenv", str(tmp_path / "none")], 1),
        (["cli-bad", "--from-json", str(bad)], 1),
    ):
        create(shared, *argv, status=status)


def test_an_empty_standard_input_is_no_value(shared: Instance) -> None:
    for nothing in ("", "\n"):
        said = create(shared, "cli-empty", "B=-", stdin=nothing, status=1)
        assert "nothing came on standard input; B= keeps an empty value" in said
    assert "cli-empty has B" in create(shared, "cli-empty", "B=")


def test_a_file_that_is_no_text_is_refused_without_a_word_of_it(
    shared: Instance, tmp_path: Path
) -> None:
    values = tmp_path / "values.json"
    values.write_bytes(b'{"A": "' + VALUE.encode() + b'\xff"}')
    said = create(shared, "cli-bytes", "--from-json", str(values), status=1)
    assert "no UTF-8, at byte" in said
    said = create(shared, "cli-bytes", "--from-dotenv", str(values), status=1)
    assert "no UTF-8, at byte" in said


def test_one_that_is_damaged_is_there_to_be_deleted(instance: Instance) -> None:
    create(instance, "cut-off", "A=1")
    with instance.redis_client() as server:
        server.hset(keys.SECRETS, "main/cut-off", "{")
    delete = ("secret", "delete", "cut-off")
    assert "add --yes" in rekindle(instance.directory, *delete, status=1).stderr
    assert "cut-off is gone." in rekindle(instance.directory, *delete, "-y").stdout


@pytest.mark.parametrize("option", [["A=-"], ["--from-json", "-"], ["--from-dotenv", "-"]])
def test_what_comes_on_standard_input_is_utf_8_whatever_the_terminal_has(
    shared: Instance, option: list[str]
) -> None:
    name = f"cli-text{option[0].strip('-=')}"
    text = '{"A": "é"}' if "--from-json" in option else "A=é"
    assert f"{name} has A" in create(shared, name, *option, stdin=text, PYTHONIOENCODING="ascii")
    for stdin in (b"A=\xff" + VALUE.encode(), (VALUE + "\ud800").encode("utf-8", "surrogatepass")):
        said = create(shared, name, *option, "--force", stdin=stdin, status=1)
        assert "no UTF-8, at byte" in said and "Traceback" not in said


def test_a_standard_input_that_cannot_be_read_is_said_to_be_so(shared: Instance) -> None:
    line = f'exec "$0" -c "{_MAIN}" secret create cli-none A=- 0> /dev/null'
    ended = subprocess.run(
        ["sh", "-c", line, sys.executable],
        env=environ(shared.directory),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "Error: A=-: standard input cannot be read: Bad file descriptor\n"
    )
