"""``rekindle up``, ``status`` and ``down`` with a real instance."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.cli.up import check_store
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.exception import InvalidError
from tests.controller.harness import running_instance
from tests.sdk.local.waiting import left_over, until


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rk-up-", ignore_cleanup_errors=True) as name:
        yield Path(name)
        rekindle(Path(name), "down")


def rekindle(home: Path, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k != "REKINDLE_DIR"}
    return subprocess.run(
        [sys.executable, "-c", "from rekindle.cli.main import main; main()", *argv],
        env={**environ, "REKINDLE_HOME": str(home), **more},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_metrics_are_served_where_up_was_told_and_printed_by_their_command(home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.listen()
        script = home / "hello_taken.py"
        script.write_text(
            "import rekindle\napp = rekindle.App('x')\n@app.function()\ndef f(): return 'hello'\n"
        )
        ran = rekindle(home, "run", str(script), REKINDLE_METRICS=f"127.0.0.1:{port}")
        assert ran.stdout == "hello\n", "a private instance serves none"
        taken = rekindle(home, "up", "--metrics", f"127.0.0.1:{port}")
        assert taken.returncode == 1
        assert f"cannot be served on 127.0.0.1:{port}" in taken.stderr
        assert not (home / "daemon").exists(), "nothing was started"
    wrong = rekindle(home, "up", "--metrics", "here")
    assert wrong.returncode == 1 and "--metrics 'here' is no address" in wrong.stderr
    wrong = rekindle(home, "up", REKINDLE_METRICS="here")
    assert wrong.returncode == 1 and "REKINDLE_METRICS='here' is no address" in wrong.stderr
    wrong = rekindle(home, "up", "--metrics", ":0")
    assert wrong.returncode == 1 and "--metrics ':0' is any port" in wrong.stderr
    wrong = rekindle(home, "up", "--metrics", "..:80")
    assert wrong.returncode == 1 and "cannot be served on ..:80: " in wrong.stderr
    up = rekindle(home, "up", "--metrics", str(port))
    assert up.stdout.endswith(f"Metrics: http://127.0.0.1:{port}/metrics\n"), up.stderr
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        scraped = reply.read().decode()
    printed = rekindle(home, "metrics").stdout
    for text in (scraped, printed):
        assert "rekindle_build_info{" in text
        assert 'rekindle_agents{state="connected"} 1.0' in text


def test_in_the_foreground_it_is_one_process_that_sigterm_ends(home: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "REKINDLE_DIR"}
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from rekindle.cli.main import main; main()",
            "up",
            "--foreground",
        ],
        env={**environ, "REKINDLE_HOME": str(home), "REKINDLE_LOG_FORMAT": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        status = rekindle(home, "status")
        assert "connected" in status.stdout
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        events = [json.loads(line)["event"] for line in err.splitlines()]
        assert events.count("started") == 3 and events[-1] == "ending"
    finally:
        process.kill()
        process.communicate()
    until(lambda: left_over(home) == [], 30)


def test_a_store_that_cannot_be_one_is_refused_and_one_that_is_away_is_told_of(home: Path) -> None:
    for url in (
        *("s3://", "nosuch://x", "not/absolute", "s3:/bucket", "memory://x", "file:/x"),
        *("simplecache::file:///x", "simplecache::memory://", "local:///x"),
    ):
        refused = rekindle(home, "up", REKINDLE_STORE_URL=url)
        assert refused.returncode == 1 and url in refused.stderr
    assert not (home / "daemon").exists(), "nothing was started"
    assert not Path("s3:").exists()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        away = f"ftp://127.0.0.1:{closed.getsockname()[1]}/s"
        up = rekindle(home, "up", REKINDLE_STORE_URL=away)
        assert up.returncode == 0 and "An instance is up" in up.stdout, up.stderr
        assert "Nothing is shared with other nodes for now" in up.stderr and away in up.stderr
        script = home / "hello_away.py"
        script.write_text(
            "import rekindle\napp = rekindle.App('x')\n@app.function()\ndef f(): return 'hello'\n"
        )
        ran = rekindle(home, "run", str(script), REKINDLE_STORE_URL=away)
        assert ran.stdout == "hello\n", ran.stderr


def test_a_store_is_refused_where_the_package_that_packs_it_is_not_installed(home: Path) -> None:
    hidden = home / "hidden"
    hidden.mkdir()
    (hidden / "zstandard.py").write_text("raise ModuleNotFoundError('not installed')\n")
    script = home / "hello_unpacked.py"
    script.write_text(
        "import rekindle\napp = rekindle.App('x')\n@app.function()\ndef f(): return 'hello'\n"
    )
    (home / "store").mkdir()
    url = (home / "store").as_uri()
    for argv in (["up"], ["run", str(script)]):
        refused = rekindle(home, *argv, PYTHONPATH=str(hidden), REKINDLE_STORE_URL=url)
        assert refused.returncode == 1, refused.stdout
        assert "zstandard: pip install 'rekindle[blobs]'" in refused.stderr
    assert not (home / "daemon").exists(), "nothing was started"
    ran = rekindle(home, "run", str(script), PYTHONPATH=str(hidden))
    assert ran.stdout == "hello\n", "nothing else needs it"


def test_a_store_that_keeps_nothing_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    check_store("file:///proc/no-store")  # it has nothing, as one has that is new
    said = capsys.readouterr().err
    assert "Nothing of this node is shared for now" in said and "/proc/no-store" in said


def test_a_folder_that_is_hardly_meant_is_not_made_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    for place, said in (
        (tmp_path / "photos", "a folder of other things (one.jpg)"),
        (tmp_path / "photos" / "one.jpg", "is no folder"),
        (tmp_path / "mispelt" / "store", f"is in {tmp_path}/mispelt, which is not there"),
    ):
        with pytest.raises(InvalidError, match=re.escape(said)):
            check_store(place.as_uri())
    assert [one.name for one in (tmp_path / "photos").iterdir()] == ["one.jpg"]
    assert not (tmp_path / "mispelt").exists()
    for said in (f"The store {tmp_path.as_uri()}/new is new: nothing is in it yet.\n", ""):
        check_store((tmp_path / "new").as_uri())
        assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        # Of programs.
        ("LINGER", "soon", "say 10m, 90s, 2h or 0"),
        ("CONNECT_TIMEOUT_S", "nan", "must be seconds, 0 or more"),
        ("FORCE_BUILD", "maybe", "must be 1, or 0 for no"),
        ("TRACEBACK", "maybe", "must be 1, or 0 for no"),
        ("ENVIRONMENT", "a b", "ASCII letters, digits"),
        # Of the supervisor.
        ("QUICK_DEATH_S", "x", "is no number of seconds"),
        ("LOG_FORMAT", "xml", "must be one of kv, json"),
        ("LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
        # Of the controller.
        ("REAP_S", "nan", "is not a positive number"),
        ("REDIS_URL", "http://x", "write redis://HOST:PORT"),
        ("DIRECT_OBJECTS", "maybe", "must be 1, or 0 for no"),
        ("SECRETS_KEY_FILE", "/dev/null", "is no file"),
        ("BLOB_URL", "file:/x", "write file:///where/it/is"),
        ("BLOB_URL", "/dev/null/x", "is in /dev/null, which is no folder"),
        # Of the agent.
        ("MAX_RUNNERS", "9" * 20, "must be a number, from 1 to 1000000"),
        ("IMAGES", "here", "must be an absolute path"),
        ("VOLUMES", "/dev/shm/volumes", "of which each runner has its own"),
        ("VOLUMES_URL", "simplecache::memory://", "name a folder"),
    ],
)
def test_a_setting_that_is_none_ends_up_at_once_and_it_is_said_what_is_allowed(
    home: Path, variable: str, value: str, allowed: str
) -> None:
    up = rekindle(home, "up", **{f"REKINDLE_{variable}": value})
    assert (up.returncode, up.stdout) == (1, "")
    first, kind = up.stderr.splitlines()
    assert value in first and allowed in first, up.stderr
    assert kind.startswith("InvalidError;")


def test_who_starts_it_on_a_redis_without_a_file_is_told_what_may_be_lost(home: Path) -> None:
    with running_instance(start=False) as elsewhere:
        elsewhere.start_redis()
        url = redis_url(elsewhere.directory)
        for keeps in ("no", "yes"):
            with elsewhere.redis_client() as server:
                server.config_set("appendonly", keeps)
            up = rekindle(home, "up", REKINDLE_REDIS_URL=url)
            assert "An instance is up" in up.stdout, up.stderr
            for said in (up.stderr, rekindle(home, "status").stdout):
                assert ("(appendonly no): when it ends" in said) == (keeps == "no")
            rekindle(home, "down")


def test_programs_that_are_led_elsewhere_are_told_of(home: Path) -> None:
    up = rekindle(home, "up", REKINDLE_DIR="/no/such")
    assert up.returncode == 0 and "while REKINDLE_DIR=/no/such names another: unset" in up.stderr


def test_down_ends_the_instance_that_is_named_and_no_other(home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rk-up-", ignore_cleanup_errors=True) as name:
        beside = Path(name)
        try:
            for one in (home, beside):
                assert rekindle(one, "up").returncode == 0
            nothing = rekindle(home, "down", REKINDLE_DIR=name)
            assert (nothing.returncode, nothing.stdout) == (1, "")
            assert f"REKINDLE_DIR={name} is no instance directory" in nothing.stderr
            ended = rekindle(home, "down", REKINDLE_DIR=str(beside / "daemon"))
            assert (ended.returncode, ended.stdout) == (0, "The instance is down.\n"), ended.stderr
            assert rekindle(beside, "status").returncode == 1
            assert rekindle(home, "status").returncode == 0
            again = rekindle(home, "down", REKINDLE_DIR=str(beside / "daemon"))
            assert again.returncode == 1 and "has ended (nothing serves there)" in again.stderr
        finally:
            rekindle(beside, "down")


def test_who_only_looks_makes_no_home(home: Path) -> None:
    nowhere = home / "nowhere"
    assert rekindle(nowhere, "status").returncode == 1
    assert "No instance is up" in rekindle(nowhere, "down").stdout
    assert not nowhere.exists()


def test_who_starts_it_without_the_place_of_its_blobs_is_told_once(
    home: Path, tmp_path: Path
) -> None:
    assert not rekindle(home, "up", REKINDLE_BLOB_URL=str(tmp_path)).stderr
    rekindle(home, "down", REKINDLE_BLOB_URL=str(tmp_path))
    copied = rekindle(home, "backup", str(tmp_path / "backup"))
    assert copied.stderr.startswith(f"Without the blobs at {tmp_path}/in-"), copied
    restored = home / "r"  # sockets must fit
    restored.mkdir(mode=0o700)
    (tmp_path / "backup").rename(restored / "daemon")
    told = f"Its blobs were at {tmp_path} so far, and what is there is not found: "
    for place in (home, restored):
        first, _, again, _ = (rekindle(place, word) for word in ("up", "down", "up", "down"))
        assert first.stderr == f"{told}REKINDLE_BLOB_URL is not set.\n", first
        assert not again.stderr, again
