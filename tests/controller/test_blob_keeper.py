"""Blobs of inputs that are done with, and of calls that are forgotten, are removed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rekindle import exception
from rekindle.controller.queue.blob_keeper import BlobKeeper
from rekindle.controller.storage import backup
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import new_key, open_store
from rekindle.wire.version import PROTOCOL
from tests.controller.fake_agent import FakeAgent, result_of
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import of_one_input, registered, running_parts
from tests.controller.refusals import refused


def there(instance: Instance) -> set[str]:
    """Keys of the blobs in an instance's folder."""
    root = instance.directory / "blobs"
    return {str(path.relative_to(root)) for path in root.glob("fc-*/*")}


async def until_gone(path: Path) -> None:
    """Return when a file is not there any more."""
    while path.exists():
        await asyncio.sleep(0.01)


async def submit_blob(client: Client, url: str, function_id: str) -> tuple[str, str]:
    """Submit an input whose payload is in a blob; the call and the key."""
    call_id = new_id("fc")
    key = new_key(call_id, 0, b"large")
    await asyncio.to_thread(open_store(url).put, key, b"large")
    await client.call(
        "Submit",
        pb.SubmitRequest(
            call_id=call_id, function_id=function_id, inputs=[pb.Input(blob=key)], last=True
        ),
    )
    return call_id, key


@in_loop
async def test_hello_says_where_blobs_go_and_a_payload_goes_with_its_input() -> None:
    with running_instance(REKINDLE_BLOB_THRESHOLD_BYTES="1000") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            hello = await client.call("Hello", pb.HelloRequest(protocol=PROTOCOL))
            assert hello.blob_threshold_bytes == 1000
            assert hello.blob_url == (instance.directory / "blobs").as_uri()
            _, [function_id] = await client.register("app", spec())
            call_id, key = await submit_blob(client, hello.blob_url, function_id)
            assign = await agent.assigned.get()
            assert assign.inputs[0].blob == key
            assert there(instance) == {key}
            await agent.done(assign)
            assert len(await client.results(call_id)) == 1
            await until_gone(instance.directory / "blobs" / key)


@in_loop
async def test_the_payload_of_a_dead_letter_is_kept_until_it_is_dropped(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        url = (instance.directory / "blobs").as_uri()
        agent.answer(lambda assign: result_of(assign, b"", pb.INTERNAL))
        _, [function_id] = await client.register("app", spec())
        call_id, key = await submit_blob(client, url, function_id)
        assert len(await client.results(call_id)) == 1
        assert there(instance) == {key}
        await client.call("Drop", pb.DeadLetterSelection(all=True))
        await until_gone(instance.directory / "blobs" / key)


@in_loop
async def test_blobs_of_calls_that_are_forgotten_are_swept() -> None:
    short = {"REKINDLE_RESULT_TTL_S": "2", "REKINDLE_INVOKE_RESULT_TTL_S": "1"}
    with running_instance(**short) as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            url = (instance.directory / "blobs").as_uri()
            orphan = new_key(new_id("fc"), 0, b"of a client that died")
            await asyncio.to_thread(open_store(url).put, orphan, b"of a client that died")
            _, [function_id] = await client.register("app", spec())
            _, waiting = await submit_blob(client, url, function_id)
            done_call = await client.submit(function_id, {0: b""})
            held = [await agent.assigned.get() for _ in range(2)]
            of_result = new_key(done_call, 0, b"result")
            await asyncio.to_thread(open_store(url).put, of_result, b"result")
            result = result_of(held[1], b"")
            result.blob = of_result
            await agent.send(
                done=pb.Done(
                    call_id=done_call,
                    function_id=function_id,
                    indexes=[0],
                    statuses=[pb.SUCCESS],
                    results=[result.SerializeToString()],
                )
            )
            assert (await client.results(done_call))[0].blob == of_result
            await until_gone(instance.directory / "blobs" / orphan)
            await until_gone(instance.directory / "blobs" / of_result)
            assert there(instance) == {waiting}  # its input is not done


@in_loop
async def test_no_blob_is_swept_of_a_call_that_runs_or_is_kept(redis_alone: Instance) -> None:
    """One that is kept has left the controller's memory; one that is waited for is in it alone."""
    url = (redis_alone.directory / "blobs").as_uri()
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        keeper = BlobKeeper(parts.core, parts.retention._calls, url, redis_alone.directory)
        kept, request = new_id("fc"), of_one_input(function)
        await parts.retention._calls.index_call(kept, function.index)
        waiting = asyncio.create_task(parts.intake.invoke(function, request))
        while not function.undone:
            await asyncio.sleep(0.01)
        made = [new_key(one, 0, b"large") for one in (kept, request.call_id, new_id("fc"))]
        for key in made:
            await asyncio.to_thread(open_store(url).put, key, b"large")
        assert await keeper.sweep(-1) == 1  # however young they are
        assert there(redis_alone) == set(made[:2])
        waiting.cancel()


@in_loop
async def test_while_a_backup_is_made_no_blob_goes_and_afterwards_it_is_swept() -> None:
    short = {"REKINDLE_RESULT_TTL_S": "2", "REKINDLE_INVOKE_RESULT_TTL_S": "1"}
    with running_instance(**short) as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            url = (instance.directory / "blobs").as_uri()
            _, [function_id] = await client.register("app", spec())
            with backup.nothing_removed(instance.directory):
                call_id, key = await submit_blob(client, url, function_id)
                await agent.done(await agent.assigned.get())
                assert len(await client.results(call_id)) == 1
                await instance.until_logged("blobs stay")
                assert there(instance) == {key}
            await until_gone(instance.directory / "blobs" / key)


@in_loop
async def test_an_instance_removes_no_blob_of_another_with_the_same_store(tmp_path: Path) -> None:
    store = {"REKINDLE_BLOB_URL": str(tmp_path / "shared")}
    quick = {**store, "REKINDLE_RESULT_TTL_S": "2", "REKINDLE_INVOKE_RESULT_TTL_S": "1"}
    with running_instance(**store) as one, running_instance(**quick) as sweeping:
        async with Client(one) as client, Client(sweeping) as other, FakeAgent(one) as agent:
            urls = [
                (await stub.call("Hello", pb.HelloRequest(protocol=PROTOCOL))).blob_url
                for stub in (client, other)
            ]
            assert len({*urls, store["REKINDLE_BLOB_URL"]}) == 3
            _, [function_id] = await client.register("app", spec())
            _, waiting = await submit_blob(client, urls[0], function_id)
            former = new_key(new_id("fc"), 0, b"put there when instances had no folders")
            await asyncio.to_thread(
                open_store(str(tmp_path / "shared")).put,
                *(former, b"put there when instances had no folders"),
            )
            orphan = new_key(new_id("fc"), 0, b"of a client that died")
            await asyncio.to_thread(open_store(urls[1]).put, orphan, b"of a client that died")
            await until_gone(Path(urls[1]) / orphan)  # it sweeps; what it takes is in order of age
            again = new_key(new_id("fc"), 0, b"of another one")
            await asyncio.to_thread(open_store(urls[1]).put, again, b"of another one")
            await until_gone(Path(urls[1]) / again)  # a whole sweep later
            for key, data in (
                (waiting, b"large"),
                (former, b"put there when instances had no folders"),
            ):
                assert await asyncio.to_thread(open_store(urls[0]).get, key) == data
            assert (await agent.assigned.get()).inputs[0].blob == waiting


@in_loop
async def test_a_key_that_is_none_is_refused(shared: Instance) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("app", spec())
        request = pb.SubmitRequest(
            call_id=new_id("fc"), function_id=function_id, inputs=[pb.Input(blob="../../etc/x")]
        )
        error = await refused(client.call("Submit", request))
        assert isinstance(error, exception.InvalidError)
