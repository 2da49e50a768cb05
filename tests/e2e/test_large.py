"""Large arguments and results, from a caller's hands to a runner's and back, by every way."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.e2e.harness import Home, wait_until

LARGE = """
    import json, rekindle
    app = rekindle.App("large")
    SIZE = 3_000_000

    @app.function()
    def twice(data: bytes) -> bytes:
        return data + data

    @app.function()
    def size_of(data: bytes) -> int:
        return len(data)

    @app.function(retries=rekindle.Retries(max_retries=1, initial_delay=0.0))
    def second_time(data: bytes, marker: str) -> int:
        import pathlib
        first = not pathlib.Path(marker).exists()
        pathlib.Path(marker).touch()
        if first:
            raise ValueError("the first time")
        return len(data)

"""


def entrypoint(body: str) -> str:
    lines = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
    return f"{LARGE}\n    @app.local_entrypoint()\n    def main():\n{lines}"


def blobs(folder: Path) -> list[Path]:
    """What is in a blob store."""
    return [path for path in folder.glob("fc-*/*") if path.is_file()]


def test_large_arguments_and_results_come_through_by_every_way(home: Home) -> None:
    home.up()
    script = home.script(
        entrypoint(
            """
            data = bytes(range(250)) * (SIZE // 250)
            sizes = [len(twice.remote(data)), len(twice.spawn(data).get())]
            sizes += [len(value) for value in twice.map([data, b"x", data])]
            sizes += list(size_of.spawn_map([data] * 3).iter())
            ok = twice.spawn(data).get() == data + data
            print(json.dumps([ok, sizes]))
            """
        )
    )
    ok, sizes = home.run(script).value
    assert ok
    assert sizes == [6_000_000] * 3 + [2] + [6_000_000] + [3_000_000] * 3
    folder = home.daemon / "blobs"
    assert folder.stat().st_mode & 0o777 == 0o700
    # Arguments go with their inputs; results stay as long as their call does.
    wait_until(
        lambda: {path.stat().st_size > 5_000_000 for path in blobs(folder)} == {True},
        "the arguments to be removed",
    )


def test_a_retry_finds_its_arguments(shared: Home, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    script = shared.script(
        entrypoint(f"print(json.dumps(second_time.spawn(bytes(SIZE), {str(marker)!r}).get()))")
    )
    assert shared.run(script).value == 3_000_000


def test_the_store_can_be_elsewhere(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    script = home.script(entrypoint("print(json.dumps(len(twice.spawn(bytes(SIZE)).get())))"))
    ended = home.run(script, REKINDLE_BLOB_URL=str(folder), REKINDLE_BLOB_THRESHOLD_BYTES="2000000")
    assert ended.value == 6_000_000
    (of_instance,) = folder.iterdir()
    assert len(blobs(of_instance)) == 1  # the result; the arguments are gone


def test_a_store_that_cannot_be_written_is_told_to_the_caller(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    script = home.script(
        entrypoint(
            """
            try:
                twice.spawn(bytes(SIZE)).get()
            except rekindle.exception.ServiceError as error:
                print(json.dumps(str(error)))
            """
        )
    )
    told = home.run(script, REKINDLE_BLOB_URL=str(tmp_path / "file")).value
    assert "cannot take" in told
    assert "REKINDLE_BLOB_URL" in told
