"""Retries and secrets."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError
from rekindle.execution import context
from rekindle.sdk.program import main_module
from rekindle.sdk.resources import retry_spec
from rekindle.sdk.secret import merged


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_retries": 11}, "max_retries"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 1, "backoff_coefficient": 0.5}, "backoff_coefficient"),
        ({"max_retries": 1, "backoff_coefficient": 11}, "backoff_coefficient"),
        ({"max_retries": 1, "initial_delay": 61}, "initial_delay"),
        ({"max_retries": 1, "max_delay": 0.5}, "max_delay"),
    ],
)
def test_retries_outside_of_their_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        rekindle.Retries(**options)


def test_a_number_of_retries_means_one_second_apart() -> None:
    spec = retry_spec(3)
    assert spec is not None
    assert [spec.delay_s(n) for n in (1, 2, 3)] == [1.0, 1.0, 1.0]
    backoff = retry_spec(rekindle.Retries(max_retries=5, initial_delay=2.0, max_delay=7))
    assert backoff is not None
    assert [backoff.delay_s(n) for n in (1, 2, 3)] == [2.0, 4.0, 7.0]
    early = retry_spec(rekindle.Retries(max_retries=5, initial_delay=0.3))
    assert early is not None
    assert [early.delay_s(n) for n in (1, 2, 3, 4, 9)] == [1.0, 1.0, 1.2, 2.4, 60.0]
    assert retry_spec(None) is None


def test_the_defaults_of_retries() -> None:
    retries = rekindle.Retries(max_retries=3)
    assert (retries.backoff_coefficient, retries.initial_delay, retries.max_delay) == (2, 1, 60)
    with pytest.raises(TypeError):
        rekindle.Retries()  # type: ignore[call-arg]


def test_a_secret_never_shows_its_values() -> None:
    secret = rekindle.Secret.from_dict({"TOKEN": "hunter2", "OTHER": None})
    assert "hunter2" not in repr(secret)
    assert repr(secret) == "Secret(TOKEN)"


def test_later_secrets_count() -> None:
    one = rekindle.Secret.from_dict({"A": "1", "B": "1"})
    two = rekindle.Secret.from_dict({"B": "2"})
    assert merged((one, two)) == {"A": "1", "B": "2"}


def test_variables_that_are_not_set_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RK_SET", "yes")
    monkeypatch.delenv("RK_UNSET", raising=False)
    assert merged((rekindle.Secret.from_local_environ(["RK_SET"]),)) == {"RK_SET": "yes"}
    with pytest.raises(InvalidError, match="RK_UNSET"):
        rekindle.Secret.from_local_environ(["RK_SET", "RK_UNSET"])
    with pytest.raises(InvalidError, match="list of names"):
        rekindle.Secret.from_local_environ("RK_SET")


def test_in_a_runner_local_sources_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_remote", True)
    assert merged((rekindle.Secret.from_local_environ(["RK_UNSET"]),)) == {}
    assert merged((rekindle.Secret.from_dotenv("/nowhere"),)) == {}


@pytest.mark.parametrize("value", [5, b"x", "a\0b", "x" * 32_769])
def test_values_must_be_strings_of_a_certain_length(value: Any) -> None:
    with pytest.raises(InvalidError, match="K"):
        rekindle.Secret.from_dict({"K": value})


def test_dotenv_files(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# comment\n\nA=plain\nexport B = 'single # not a comment'\n"
        'C="two\\nlines \\"quoted\\""  # comment\nD=\nE=a=b # comment\n'
    )
    below = tmp_path / "deep" / "er"
    below.mkdir(parents=True)
    assert merged((rekindle.Secret.from_dotenv(below),)) == {
        "A": "plain",
        "B": "single # not a comment",
        "C": 'two\nlines "quoted"',
        "D": "",
        "E": "a=b",
    }
    (tmp_path / "bad.env").write_text("A=1\nwhat is this\n")
    with pytest.raises(InvalidError, match=r"bad\.env:2"):
        rekindle.Secret.from_dotenv(tmp_path / "bad.env")
    with pytest.raises(InvalidError, match=r"no nothing\.env"):
        rekindle.Secret.from_dotenv(tmp_path, filename="nothing.env")


def test_a_dotenv_file_is_searched_for_from_the_code_that_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "prod.env").write_text("A=2\n")
    (tmp_path / "deep").mkdir()
    module, script = tmp_path / "deep" / "module.py", tmp_path / "deep" / "script"
    for code in (module, script):
        code.write_text("import rekindle\n")
    monkeypatch.setattr(main_module, "current", lambda: main_module.Program("script", script))
    assert merged((rekindle.Secret.from_dotenv(str(module)),)) == {"A": "1"}
    assert merged((rekindle.Secret.from_dotenv(script),)) == {"A": "1"}
    assert merged((rekindle.Secret.from_dotenv(module, filename="prod.env"),)) == {"A": "2"}
    assert merged((rekindle.Secret.from_dotenv(tmp_path / "prod.env"),)) == {"A": "2"}


def test_variables_in_a_dotenv_file_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RK_HOST", "of the environment")
    monkeypatch.setenv("RK_PORT", "5432")
    monkeypatch.delenv("RK_UNSET", raising=False)
    file = tmp_path / ".env"
    file.write_text("RK_HOST=db\nURL=postgres://${RK_HOST}:${RK_PORT}/${RK_UNSET:-main}\n")
    assert merged((rekindle.Secret.from_dotenv(file),))["URL"] == "postgres://db:5432/main"
    file.write_text("A=1\nPASSWORD=hid${RK_UNSET}den\n")
    with pytest.raises(InvalidError, match=r"\.env:2, PASSWORD: .* \$\{NAME:-\}") as raised:
        rekindle.Secret.from_dotenv(file)
    assert "hid" not in str(raised.value) and "RK_UNSET" not in str(raised.value)


def test_a_dotenv_file_that_cannot_be_read_says_why_and_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"A=caf\xe9\n")
    with pytest.raises(InvalidError, match=r"\.env is no UTF-8, at byte 5"):
        rekindle.Secret.from_dotenv(file)

    def refused(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        with pytest.raises(InvalidError, match=r"\.env cannot be read: Permission denied"):
            rekindle.Secret.from_dotenv(file)
        patch.setattr(Path, "is_file", refused)
        with pytest.raises(InvalidError, match=r"cannot be read: .*Permission denied"):
            rekindle.Secret.from_dotenv(tmp_path / "closed")


def test_secrets_and_environment_are_registered(controller: Any) -> None:
    from rekindle.wire.messages import spec_of

    app = rekindle.App("secrets", secrets=[rekindle.Secret.from_dict({"A": "app", "B": "app"})])

    @app.function(secrets=[rekindle.Secret.from_dict({"B": "function"})], env={"E": "1"})
    def f() -> None: ...

    with app.run():
        pass
    function = controller.registered[0].functions[0]
    assert dict(function.secrets) == {"A": "app", "B": "function"}
    spec = spec_of(function.spec)
    assert spec.env == {"E": "1"}
    assert b"function" not in function.spec.SerializeToString().replace(b"\x08function", b"")
