"""Damaged records of Dict, Queue and secrets hide no others, and are not written over.

Real Redis, real controller, as in tests/controller/test_damage.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from rekindle import Dict, Queue
from rekindle.controller.storage import keys
from rekindle.exception import InternalFailure, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.damaged import (
    DAMAGES,
    damage,
    instance_id,
    started_again,
    told,
    with_unknown_field,
)
from tests.controller.harness import Client, Instance, in_loop, new_id
from tests.controller.refusals import refused


@in_loop
async def test_a_damaged_object_hides_no_other_and_none_is_made_in_its_place(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    table = keys.objects(await instance_id(instance))
    damages = {**DAMAGES, "with_unknown_field": with_unknown_field}
    with instance.redis_client() as server:
        good = Dict.from_name("good", create_if_missing=True)
        await good.put.aio("key", "value")
        objects = {}
        for name in damages:
            one = Dict.from_name(name, create_if_missing=True)
            await one.put.aio("key", name)
            objects[name] = one.object_id
        queue = Queue.from_name("queue", create_if_missing=True)
        await queue.put.aio("item")
        kept = {name: damage(server, table, objects[name], how) for name, how in damages.items()}
        started_again(instance)
        async with Client(instance) as client:
            found = await told(client, "Dict")
            assert set(found) == set(objects.values())
            assert await Dict.from_name("good").get.aio("key") == "value"
            assert await Queue.from_name("queue").get.aio() == "item"
            assert await Queue.from_name("another", create_if_missing=True).len.aio() == 0
            for name in damages:
                one = Dict.from_name(name, create_if_missing=True)
                with pytest.raises(InternalFailure, match="cannot be read"):
                    await one.put.aio("key", "new")
                assert server.hget(table, objects[name]) == kept[name]
            # It may lie in any of them, and would be left behind.
            blue = pb.EnvironmentRequest(name="blue")
            await client.call("CreateEnvironment", blue)
            rename = pb.RenameEnvironmentRequest(name="blue", new_name="red")
            for method, request in (("DeleteEnvironment", blue), ("RenameEnvironment", rename)):
                assert isinstance(await refused(client.call(method, request)), InternalFailure)
            for one in found.values():
                await client.call("SetAside", pb.SetAsideRequest(id=one.id))
            anew = Dict.from_name("flipped", create_if_missing=True)
            assert await anew.len.aio() == 0


@in_loop
async def test_a_damaged_secret_hides_no_other_and_is_replaced_only_where_that_is_asked_for(
    instance: Instance,
) -> None:
    damages = {**DAMAGES, "with_unknown_field": with_unknown_field}
    with instance.redis_client() as server:
        async with Client(instance) as client:

            async def put(name: str, **more: Any) -> pb.SecretInfo:
                request = pb.PutSecretRequest(
                    secret=pb.SecretRef(name=name),
                    values={"KEY": name},
                    new_id=new_id("se"),
                    **more,
                )
                info: pb.SecretInfo = await client.call("PutSecret", request)
                return info

            async def get(name: str, **more: Any) -> pb.SecretInfo:
                ref = pb.SecretRef(name=name, **more)
                info: pb.SecretInfo = await client.call("GetSecret", ref)
                return info

            ids = {name: (await put(name)).id for name in ("good", *damages)}
            kept = {
                name: damage(server, keys.SECRETS, f"main/{name}", how)
                for name, how in damages.items()
            }
            started_again(instance)
            assert (await get("good")).id == (await get("", id=ids["good"])).id == ids["good"]
            listed = await client.call("ListSecrets", pb.ListSecretsRequest())
            assert [one.name for one in listed.secrets] == ["good"]
            assert set(await told(client, "secret")) == {f"main/{name}" for name in damages}
            for name in damages:
                for request in (get(name), put(name), put(name, keep=True), put(name, merge=True)):
                    assert isinstance(await refused(request), InternalFailure)
            assert isinstance(await refused(get("", id=ids["flipped"])), InternalFailure)
            rotated = await client.call("RotateSecretKey", pb.RotateSecretKeyRequest())
            assert rotated.sealed_again == 1
            for name in damages:
                assert server.hget(keys.SECRETS, f"main/{name}") == kept[name]
            await put("flipped", replace=True)
            assert (await get("flipped")).keys == ["KEY"]
            delete = pb.DeleteSecretRequest(secret=pb.SecretRef(name="cut_off"))
            assert (await client.call("DeleteSecret", delete)).deleted
            assert isinstance(await refused(get("cut_off")), NotFoundError)
            aside = server.hvals(keys.set_aside(await instance_id(instance)))
            assert sorted(aside) == sorted([kept["flipped"], kept["cut_off"]])
            assert len(await told(client, "secret")) == len(damages) - 2
