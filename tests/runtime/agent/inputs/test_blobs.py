"""Large payloads and results on a node: fetched within bounds, told where they cannot be."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from rekindle.exception import InternalFailure, InvalidError, ServiceError
from rekindle.runtime.agent import node
from rekindle.runtime.agent.inputs import blobs as module
from rekindle.runtime.agent.inputs.assignment import Assignment, Order
from rekindle.runtime.agent.inputs.blobs import Blobs
from rekindle.runtime.agent.inputs.outcome import Outcomes
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import FolderStore, new_key
from rekindle.wire.phases import now_ns
from rekindle.wire.serialization import deserialize, serialize
from tests import power_cut
from tests.hung import hung
from tests.runtime.agent.harness import PATIENCE_S, Harness, run

CALL = "fc-0123456789abcdefABCDEF"
INSTANCE = "in-0123456789abcdef"
ORDER = Order(CALL, "fu-1", "ap-1", b"", None, 1, 2, 1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.delenv("REKINDLE_BLOB_URL", raising=False)
    monkeypatch.setenv("REKINDLE_BLOB_THRESHOLD_BYTES", "1000")
    monkeypatch.setattr(module, "_WAITS_S", (0.0,))
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    return FolderStore(tmp_path / "blobs")


@pytest.fixture
def named(tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """The instance's folder of a store that others may have, too."""
    monkeypatch.setenv("REKINDLE_BLOB_URL", str(tmp_path / "named"))
    return FolderStore(tmp_path / "named" / INSTANCE)


def of_node(directory: Path) -> Blobs:
    """The blob store as an agent has it whom the controller has taken in."""
    made = Blobs(directory)
    made.welcomed(pb.Welcome(instance_id=INSTANCE))
    return made


def put(store: FolderStore, index: int, size: int) -> Assignment:
    data = bytes([index]) * size
    key = new_key(CALL, index, data)
    store.put(key, data)
    return Assignment(ORDER, index, "", b"", key)


def test_an_input_gets_its_payload_and_keeps_its_key(store: FolderStore, tmp_path: Path) -> None:
    """The blob stays where it is: the input may be delivered once more."""
    one = put(store, 3, 5000)
    key = one.blob
    asyncio.run(of_node(tmp_path).fetch(one))
    assert one.payload == b"\x03" * 5000
    assert one.blob == key
    assert store.get(key) == one.payload


def test_what_is_fetched_at_a_time_is_bounded(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FETCHED_BYTES", 2000)

    most: list[int] = []

    async def main() -> None:
        blobs = of_node(tmp_path)
        inputs = [put(store, i, 900) for i in range(5)]
        inputs.append(put(store, 5, 5000))  # larger than the bound: alone

        async def run(one: Assignment) -> None:
            await blobs.fetch(one)
            held = [len(other.payload) for other in inputs if other.payload]
            assert sum(held) <= 2000 or held == [5000]
            most.append(len(held))
            await asyncio.sleep(0.01)  # it runs
            one.payload = b""
            blobs.release(one)

        await asyncio.gather(*(run(one) for one in inputs))

    asyncio.run(asyncio.wait_for(main(), 30))
    assert len(most) == 6
    assert max(most) == 2


def test_what_cannot_be_fetched_is_told_and_takes_no_room(
    store: FolderStore, tmp_path: Path
) -> None:
    blobs = of_node(tmp_path)
    gone, damaged = put(store, 0, 2000), put(store, 1, 2000)
    store.delete(gone.blob)
    (store.root / damaged.blob).write_bytes(b"x" * 2000)
    with pytest.raises(InternalFailure, match="is not in file://"):
        asyncio.run(blobs.fetch(gone))
    with pytest.raises(InternalFailure, match="is damaged"):
        asyncio.run(blobs.fetch(damaged))
    with pytest.raises(InvalidError, match="is not the key of a blob"):
        asyncio.run(blobs.fetch(Assignment(ORDER, 2, "", b"", "../token")))
    assert blobs._bytes == 0


def test_a_store_that_does_not_answer_is_asked_again(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = put(store, 0, 2000)
    get, failures = FolderStore.get, 5 * [ServiceError("away")]

    def flaky(self: FolderStore, key: str) -> bytes:
        if failures:
            raise failures.pop()
        return get(self, key)

    monkeypatch.setattr(FolderStore, "get", flaky)
    with monkeypatch.context() as patient:
        patient.setattr(module, "_PATIENCE_S", PATIENCE_S)
        asyncio.run(of_node(tmp_path).fetch(one))
    assert len(one.payload) == 2000 and not failures
    failures += [ServiceError("away")]
    with pytest.raises(ServiceError, match="away"):
        asyncio.run(of_node(tmp_path).fetch(one))


def test_an_error_that_nobody_foresaw_is_told_as_one_of_ours(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an input would wait for ever, or its result would be lost."""

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(FolderStore, "get", no_thread)
    monkeypatch.setattr(FolderStore, "put", no_thread)
    blobs, batch = of_node(tmp_path), batch_of(5000)
    one = Assignment(ORDER, 0, "", b"", new_key(CALL, 0, b"x"))
    with pytest.raises(InternalFailure, match="RuntimeError: can't start new thread"):
        asyncio.run(blobs.fetch(one))
    assert blobs._bytes == 0
    asyncio.run(blobs.put_aside(batch))
    assert batch.statuses == [pb.INTERNAL]
    assert "RuntimeError: can't start" in pb.Result.FromString(batch.results[0]).message


def batch_of(*sizes: int) -> Outcomes:
    batch = Outcomes(ORDER)
    for index, size in enumerate(sizes):
        result = pb.Result(call_id=CALL, index=index, status=pb.SUCCESS, data=bytes([index]) * size)
        batch.add(Assignment(ORDER, index, "", b"", ""), result)
    return batch


def test_large_results_go_to_the_store(store: FolderStore, tmp_path: Path) -> None:
    blobs, batch = of_node(tmp_path), batch_of(10, 5000, 20)
    assert not blobs.large(batch_of(10, 500))
    assert blobs.large(batch)
    asyncio.run(blobs.put_aside(batch))
    small, large, also = (pb.Result.FromString(raw) for raw in batch.results)
    assert (len(small.data), len(also.data)) == (10, 20)
    assert not large.data
    assert store.get(large.blob) == b"\x01" * 5000


def test_a_result_that_cannot_be_put_is_an_error(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("not a folder")
    batch = batch_of(10, 5000)
    asyncio.run(of_node(tmp_path).put_aside(batch))
    assert batch.statuses == [pb.SUCCESS, pb.INTERNAL]
    result = pb.Result.FromString(batch.results[1])
    assert result.status == pb.INTERNAL
    assert result.error_type == "rekindle.exception.ServiceError"
    assert "its result could not be kept: blob store file://" in result.message


@power_cut.needed
def test_a_result_waits_as_long_as_the_disk_is_full_and_no_input_is_run_meanwhile(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEPT_BACK_BYTES", 100_000)
    monkeypatch.setattr(module, "_WAITS_S", (0.01,))
    with power_cut.mounted(tmp_path) as disk:
        blobs, batch = of_node(disk.root), batch_of(100_000)
        filler = disk.fill()

        async def put() -> None:
            storing = asyncio.ensure_future(blobs.put_aside(batch))
            async with asyncio.timeout(PATIENCE_S):
                while not blobs.full:
                    assert not storing.done()
                    await asyncio.sleep(0.01)
                filler.unlink()
                await storing
            assert not blobs.full

        asyncio.run(put())
        assert batch.statuses == [pb.SUCCESS]
        stored = pb.Result.FromString(batch.results[0]).blob
        assert len(FolderStore(disk.root / "blobs").get(stored)) == 100_000


@pytest.mark.needs_root("to mount what hangs")
def test_results_are_bounded_from_the_start_where_the_store_hangs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEPT_BACK_BYTES", 1)
    monkeypatch.setattr(module, "_WAITS_S", (0.01,))
    monkeypatch.setattr(node, "RECONCILE_S", 3600.0)  # nothing else has inputs run
    monkeypatch.setenv("REKINDLE_BLOB_THRESHOLD_BYTES", "1000")
    monkeypatch.setenv("REKINDLE_BLOB_URL", str(tmp_path / "named"))

    async def scenario(h: Harness) -> None:
        h.node.welcomed(pb.Welcome(instance_id=INSTANCE))
        f = h.add(join, max_containers=1)
        with hung(tmp_path / "named") as end:
            large = h.submit(f, "", b"ab", 1000)
            await h.uplink.until(lambda: h.node.blobs.full)
            small = h.submit(f, "", b"ab", 1)
            pool = h.node.inventory.pools[f, ""]
            await h.uplink.until(lambda: pool.waiting)
            assert not pool.runners.busy() and not h.uplink.results
            end()
        for key in (large, small):
            assert (await h.result(key)).result.status == pb.SUCCESS

    run(home, scenario)


@power_cut.needed
def test_a_full_disk_that_gives_payloads_is_told_of_once(
    store: FolderStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "_WAITS_S", (0.01,))
    caplog.set_level(logging.INFO, module.__name__)
    with power_cut.mounted(tmp_path) as disk:
        blobs, batch = of_node(disk.root), batch_of(100_000)
        payload = put(FolderStore(disk.root / "blobs"), 1, 5000)
        filler = disk.fill()
        tries = 0
        a_put = FolderStore.put

        def counted(self: FolderStore, key: str, data: bytes) -> None:
            nonlocal tries
            tries += 1
            a_put(self, key, data)

        monkeypatch.setattr(FolderStore, "put", counted)

        async def both() -> None:
            storing = asyncio.ensure_future(blobs.put_aside(batch))
            async with asyncio.timeout(PATIENCE_S):
                for wanted in (2, 4, 6):
                    while tries < wanted:
                        await asyncio.sleep(0.01)
                    await blobs.fetch(payload)
                    blobs.release(payload)
                filler.unlink()
                await storing

        asyncio.run(both())
    told = [one.getMessage() for one in caplog.records if one.name == module.__name__]
    assert told == ["results wait for the blob store", "it takes them"]


def test_a_result_is_put_again_where_the_store_did_not_answer(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(module, "_WAITS_S", (0.01,))
    (tmp_path / "blobs").write_text("not a folder, for now")
    blobs, batch = of_node(tmp_path), batch_of(5000)

    async def put() -> None:
        storing = asyncio.ensure_future(blobs.put_aside(batch))
        async with asyncio.timeout(PATIENCE_S):
            while not blobs._kept_back:
                await asyncio.sleep(0.01)
            (tmp_path / "blobs").unlink()
            await storing

    asyncio.run(put())
    assert batch.statuses == [pb.SUCCESS]


def test_a_result_over_the_limit_is_refused_with_it(store: FolderStore, tmp_path: Path) -> None:
    batch = batch_of(3000, 5000)
    blobs = of_node(tmp_path)
    blobs.limit = 4000
    asyncio.run(blobs.put_aside(batch))
    fits, refused = (pb.Result.FromString(raw) for raw in batch.results)
    assert fits.blob
    assert not refused.blob
    assert batch.statuses == [pb.SUCCESS, pb.FAILURE]
    assert refused.error_type == "rekindle.exception.RequestSizeError"
    assert "5000 > 4000 bytes" in refused.message


def test_everything_can_travel_inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKINDLE_BLOB_THRESHOLD_BYTES", "0")
    assert not of_node(tmp_path).large(batch_of(10_000_000))


# ---- a real node -------------------------------------------------------------------------------


def join(data: bytes, count: int) -> bytes:
    return data * count


def crash_once(data: bytes, marker: str) -> int:
    if not os.path.exists(marker):
        open(marker, "w").close()
        os._exit(3)
    return len(data)


def order(function_id: str, one: pb.Input, delivery: int = 1) -> pb.Assign:
    return pb.Assign(
        call_id=CALL,
        inputs=[one],
        function_id=function_id,
        submitted_ns=now_ns(),
        delivery=delivery,
        app_id="ap-test",
    )


def put_input(store: FolderStore, index: int, *args: object) -> pb.Input:
    data = serialize((args, {}), "a test's input")
    key = new_key(CALL, index, data)
    store.put(key, data)
    return pb.Input(index=index, blob=key)


def test_a_runner_gets_large_arguments_and_gives_large_results(
    home: Path, named: FolderStore
) -> None:
    async def scenario(h: Harness) -> None:
        h.node.welcomed(pb.Welcome(instance_id=INSTANCE))
        f = h.add(join)
        large, small = put_input(named, 0, b"ab" * 1000, 3), put_input(named, 1, b"ab", 2)
        for one in (large, small):
            h.node.receiver.assign(order(f, one))
        small_result = await h.result((CALL, 1))
        assert small_result.value == b"abab"
        large_result = await h.result((CALL, 0))
        assert large_result.result.status == pb.SUCCESS
        assert not large_result.result.data
        data = named.get(large_result.result.blob)
        assert deserialize(data, "a result") == b"ab" * 3000
        assert named.get(large.blob)  # the controller removes it
        assert h.node.blobs._bytes == 0

    run(home, scenario)


def test_an_input_that_is_delivered_again_finds_its_blob(
    home: Path, tmp_path: Path, named: FolderStore
) -> None:
    async def scenario(h: Harness) -> None:
        h.node.welcomed(pb.Welcome(instance_id=INSTANCE))
        f = h.add(crash_once)
        one = put_input(named, 0, b"x" * 5000, str(tmp_path / "marker"))
        h.node.receiver.assign(order(f, one))
        await h.uplink.until(lambda: h.uplink.returned)
        h.node.receiver.assign(order(f, one, delivery=2))
        assert (await h.result((CALL, 0))).value == 5000

    run(home, scenario)


def test_arguments_that_are_gone_are_the_result_of_their_input(
    home: Path, named: FolderStore
) -> None:
    async def scenario(h: Harness) -> None:
        h.node.welcomed(pb.Welcome(instance_id=INSTANCE))
        f = h.add(join)
        one = put_input(named, 0, b"x", 1)
        named.delete(one.blob)
        h.node.receiver.assign(order(f, one))
        result = (await h.result((CALL, 0))).result
        assert result.status == pb.INTERNAL
        assert result.error_type == "rekindle.exception.InternalFailure"
        assert one.blob in result.message
        assert named.url in result.message

    run(home, scenario)
