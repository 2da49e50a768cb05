"""What destroys something asks first: a no and the lack of a terminal change nothing."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner

from rekindle.cli import options
from rekindle.cli.group import cli
from rekindle.exception import ConnectionError, InvalidError, NotFoundError
from rekindle.sdk.volume import Volume
from rekindle.wire import rekindle_pb2 as pb
from tests.sdk.fake_controller import FakeController


@pytest.fixture(autouse=True)
def known(controller: FakeController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(controller.directory))
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    controller.runners.append(pb.RunnerStats(id="ru-1", function_id="fu-1"))


@pytest.mark.parametrize(
    "argv",
    [
        ["volume", "delete", "models"],
        ["volume", "rm", "models", "weights.bin"],
        ["container", "stop", "ru-1"],
        ["image", "rm", "--all"],
    ],
    ids=" ".join,
)
def test_without_a_terminal_it_says_what_to_add(argv: list[str]) -> None:
    models = Volume.from_name("models", create_if_missing=True)
    with models.batch_upload() as batch:
        batch.put_file(BytesIO(b"1"), "weights.bin")
    said = CliRunner().invoke(cli, argv, input="y\n")
    assert isinstance(said.exception, InvalidError), said
    assert str(said.exception).endswith("There is no terminal to ask on: add --yes")


def test_a_no_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Volume.objects.create("kept")
    monkeypatch.setattr(options, "has_terminal", lambda: True)
    said = CliRunner().invoke(cli, ["volume", "delete", "kept"], input="n\n")
    assert said.exit_code == 1 and "Remove the volume kept" in said.output
    assert "kept" in [one.name for one in Volume.objects.list()]
    said = CliRunner().invoke(cli, ["volume", "delete", "kept"], input="y\n")
    assert said.exit_code == 0
    assert "kept" not in [one.name for one in Volume.objects.list()]


def test_nothing_is_asked_of_a_runner_that_is_not_there() -> None:
    said = CliRunner().invoke(cli, ["container", "stop", "ru-2"])
    assert isinstance(said.exception, NotFoundError), said
    assert str(said.exception) == (
        "there is no runner 'ru-2'; did you mean 'ru-1'? `rekindle container list` shows all"
    )


@pytest.mark.parametrize("argv", [["delete", "model"], ["rm", "models", "weight.bin"]])
def test_nothing_is_asked_of_a_volume_or_a_file_that_is_not_there(argv: list[str]) -> None:
    Volume.objects.create("models")
    said = CliRunner().invoke(cli, ["volume", *argv])
    assert isinstance(said.exception, NotFoundError), said
    assert argv[-1] in str(said.exception)


@pytest.mark.parametrize("leads_to", ["nowhere", "/etc/passwd"])
def test_a_link_in_a_volume_is_there_wherever_it_leads(leads_to: str, tmp_path: Path) -> None:
    Volume.objects.create("models")
    (files,) = tmp_path.glob("volumes/*/models/files")
    (files / "link").symlink_to(leads_to)
    said = CliRunner().invoke(cli, ["volume", "rm", "models", "link"])
    assert "Remove link from the volume models? " in str(said.exception)


def test_nothing_is_asked_of_a_volume_that_may_be_missing() -> None:
    assert CliRunner().invoke(cli, ["volume", "delete", "model", "--allow-missing"]).exit_code == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["container", "stop", "ru-1"],
        ["inputs", "cancel", "fc-1"],
        ["secret", "delete", "token"],
        ["dict", "delete", "counts"],
    ],
    ids=" ".join,
)
def test_nothing_is_asked_where_no_instance_is_up(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(tmp_path / "none"))
    assert isinstance(CliRunner().invoke(cli, argv).exception, ConnectionError)


@pytest.mark.parametrize(
    "argv",
    [
        ["app", "stop", "", "-y"],
        ["app", "delete", "", "-y"],
        ["app", "info", ""],
        ["app", "history", ""],
        ["app", "rollback", ""],
        ["app", "rollover", ""],
        ["app", "logs", ""],
        ["logs", ""],
        ["pool", "ls", ""],
        ["pool", "set", "", "--min", "1"],
        ["schedule", "ls", ""],
        ["schedule", "run", ""],
        ["tune", ""],
    ],
    ids=" ".join,
)
def test_an_empty_name_is_no_app_whatever_is_deployed(argv: list[str]) -> None:
    said = CliRunner().invoke(cli, argv)
    assert isinstance(said.exception, InvalidError), said
    assert "'' names no app" in str(said.exception)
