"""Secrets by name, and what never shows a value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

import rekindle
from rekindle.exception import Error, InvalidError
from rekindle.sdk.secret import references

VALUE = "swordfish-4713"


def test_a_named_one_leaves_alone_what_is_declared_after_it() -> None:
    before = rekindle.Secret.from_dict({"A": "1", "B": "1"})
    named = rekindle.Secret.from_name("db", required_keys=["B"], environment_name="staging")
    after = rekindle.Secret.from_dict({"B": "2"})
    (found,) = references((before, named, after))
    assert (found.name, found.environment, found.required_keys, found.kept) == (
        *("db", "staging"),
        *(("B",), ("B",)),
    )


def test_code_that_mentions_a_secret_carries_no_value() -> None:
    secret = rekindle.Secret.from_dict({"A": VALUE})
    assert VALUE.encode() not in cloudpickle.dumps(lambda: secret)
    declared = rekindle.Secret.from_name("db", required_keys=["PASSWORD"])
    named = cloudpickle.loads(cloudpickle.dumps(declared))
    assert (named.name, named.is_named) == ("db", True)
    (found,) = references((named,))
    assert found.required_keys == ("PASSWORD",)


def test_one_shows_the_names_of_its_variables_alone() -> None:
    assert repr(rekindle.Secret.from_dict({"B": VALUE, "A": VALUE})) == "Secret(A, B)"
    assert repr(rekindle.Secret.from_name("db")) == "Secret(db)"


_IN_A_RUNNER = """
import sys
from rekindle.execution import context
import rekindle
context.set_remote()
secrets = rekindle.Secret.from_dict({"A": sys.argv[1]}), rekindle.Secret.from_dotenv(sys.argv[2])
assert not any(one._values for one in secrets), secrets
"""


def test_one_has_no_values_in_a_runner(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"A={VALUE}\n")
    argv = [sys.executable, "-c", _IN_A_RUNNER, VALUE, str(file)]
    subprocess.run(argv, check=True)


def test_no_error_shows_a_value() -> None:
    app = rekindle.App("quiet")
    for wrong in (
        lambda: rekindle.Secret.from_dict(VALUE),  # type: ignore[arg-type]
        lambda: rekindle.Secret.from_dict({"A": VALUE + "\0"}),
        lambda: rekindle.Secret.from_dict({"A": VALUE.encode()}),  # type: ignore[dict-item]
        lambda: app.function(secrets=[{"A": VALUE}]),  # type: ignore[list-item]
        lambda: app.function(secrets=VALUE),  # type: ignore[arg-type]
        lambda: rekindle.Secret.from_name("a b"),
        lambda: rekindle.Secret.from_name("a", required_keys="A"),
    ):
        with pytest.raises(InvalidError) as caught:
            wrong()
        assert VALUE not in str(caught.value)


def test_one_without_a_name_cannot_be_changed() -> None:
    with pytest.raises(Error, match="from_name"):
        rekindle.Secret.from_dict({"A": "1"}).update({"A": "2"})


def test_an_error_says_what_is_wrong_with_a_value() -> None:
    with pytest.raises(InvalidError, match=r"\['A'\] must not contain NUL"):
        rekindle.Secret.from_dict({"A": VALUE + "\0"})
    with pytest.raises(InvalidError, match=r"\['A'\] must be a string, and its type is int"):
        rekindle.Secret.from_dict({"A": 1})  # type: ignore[dict-item]
