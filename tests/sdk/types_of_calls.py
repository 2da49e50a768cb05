"""What a type checker knows of a program: mypy reads this with the package, nothing runs it."""

from __future__ import annotations

from typing import assert_type

import rekindle

app = rekindle.App("typed")


@app.function()
def shown(number: int) -> str:
    return str(number)


def of_a_call(known: rekindle.FunctionCall[int]) -> None:
    call = shown.spawn(1)
    assert_type(call, rekindle.FunctionCall[str])
    assert_type(call.get(timeout=3), str)
    assert_type(list(shown.spawn_map([1, 2]).iter()), list[str])
    assert_type(call.hydrate(), rekindle.FunctionCall[str])
    assert_type(known.get(), int)
    known = rekindle.FunctionCall.from_id("fc-1")


def of_handles() -> None:
    assert_type(shown.hydrate().remote(1), str)
    assert_type(rekindle.Cls.from_name("app", "C").hydrate(), rekindle.Cls)
    assert_type(rekindle.Environment.from_name("e").hydrate(), rekindle.Environment)


async def of_blocks() -> None:
    with app.run(detach=True) as running:
        assert_type(running, rekindle.App)
    async with app.run.aio() as running, rekindle.Queue.ephemeral.aio() as queue:
        assert_type(running, rekindle.App)
        assert_type(queue, rekindle.Queue)
    with rekindle.Dict.ephemeral() as entries, rekindle.Volume.ephemeral(version=2) as volume:
        assert_type(entries, rekindle.Dict)
        assert_type([one.type for one in volume.listdir("/")], list[rekindle.FileEntryType])
    async with volume.batch_upload.aio(force=True) as batch:
        batch.put_file("here", "there")
