"""Environments of a real controller: what lies in one is moved and removed with it, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from rekindle import Dict, Queue, exception
from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from rekindle.wire.volumes import VolumeMount
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, spec
from tests.controller.refusals import refused


async def known(client: Deployer) -> dict[str, tuple[int, int]]:
    """By name: apps and secrets."""
    reply = await client.call("ListEnvironments", pb.ListEnvironmentsRequest())
    return {one.name: (one.apps, one.secrets) for one in reply.environments}


def secret(environment: str) -> dict[str, Any]:
    """A request to keep one."""
    ref = pb.SecretRef(name="key", environment=environment)
    values = {"KEY": environment}
    return {"secret": ref, "values": values, "new_id": f"se-{environment}12345678"}


@in_loop
async def test_a_rename_that_was_broken_off_goes_on(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a", "app")
        await client.deploy("b", "old/app")
        await client.deploy("c", "old/other")
        await client.call("PutSecret", pb.PutSecretRequest(**secret("old")))
        assert await known(client) == {"main": (1, 0), "old": (2, 1)}
        before = await client.find("f", "old/app")
        # Who may be lent runners of an app may be lent none of its namesake.
        handles = [
            await client.call("Lookup", pb.LookupRequest(app=app, name="f"))
            for app in ("app", "old/app")
        ]
        assert len({one.node_token for one in handles} - {""}) == 2
        rename = pb.RenameEnvironmentRequest(name="old", new_name="new")
        server = instance.redis_client()
        # As a controller leaves it that ends before it has moved anything.
        table = keys.environments((await client.call("Status", pb.StatusRequest())).instance_id)
        server.hset(table, "new", '{"created": 5.0, "renamed_from": "old"}')
        await client.call("RenameEnvironment", rename)
        assert await known(client) == {"main": (1, 0), "new": (2, 1)}
        present = await client.find("f", "new/app")
        assert present != before
        # Who has the former id is served, and so is the version that has it.
        assert (await client.send(before)).data == present.encode()
        assert await client.find("f", "new/app", version=1) == before
        assert (await client.send(before, pinned=True)).data == before.encode()
        # As one leaves it that ends when all was moved, and runners were not replaced.
        server.hset(table, "new", '{"created": 5.0, "renamed_from": "old"}')
        await client.call("RenameEnvironment", rename)
        assert await client.find("f", "new/app") != present
        assert "'new/app'" in str(await refused(client.find("f", "old/app")))
        error = await refused(client.call("RenameEnvironment", rename))
        assert isinstance(error, exception.NotFoundError) and "no environment 'old'" in str(error)
        there = client.call("CreateEnvironment", pb.EnvironmentRequest(name="new"))
        assert isinstance(await refused(there), exception.AlreadyExistsError)

        await client.call("DeleteEnvironment", pb.EnvironmentRequest(name="new"))
        assert await known(client) == {"main": (1, 0)}
        assert "is closed" in str(await refused(client.send(present)))
        assert not [one for one in server.scan_iter("rk:app:*") if b"new/" in _name(server, one)]
        server.close()


def _name(server: Any, key: bytes) -> bytes:
    return bytes(server.hget(key, "name") or b"") if server.ttl(key) < 0 else b""


@in_loop
async def test_all_that_lies_in_one_goes_with_it_and_nothing_else(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))

    def objects(environment: str, **options: Any) -> list[Dict | Queue]:
        kinds: list[type[Dict] | type[Queue]] = [Dict, Queue]
        return [one.from_name("x", environment_name=environment, **options) for one in kinds]

    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        functions = {}
        for environment in ("blue", "green"):
            for one in objects(environment, create_if_missing=True):
                await one.hydrate.aio()
            await client.call("PutSecret", pb.PutSecretRequest(**secret(environment)))
            _, [functions[environment]] = await client.register(f"{environment}/run", spec("f"))
        await client.call("DeleteEnvironment", pb.EnvironmentRequest(name="blue"))
        assert set(await known(client)) == {"main", "green"}
        for one in objects("blue"):
            with pytest.raises(exception.NotFoundError):
                await one.hydrate.aio()
        for one in objects("green"):
            await one.hydrate.aio()
        assert (await client.send(functions["green"])).data == functions["green"].encode()
        assert "is closed" in str(await refused(client.send(functions["blue"])))
        rename = pb.RenameEnvironmentRequest(name="green", new_name="red")
        await client.call("RenameEnvironment", rename)
        for one in objects("red"):
            await one.hydrate.aio()
        for one in objects("green"):
            with pytest.raises(exception.NotFoundError):
                await one.hydrate.aio()


@in_loop
async def test_the_default_environment_is_always_there(shared: Instance) -> None:
    async with Deployer(shared) as client:
        rename = pb.RenameEnvironmentRequest(name="main", new_name="other")
        for method, request in (
            ("DeleteEnvironment", pb.EnvironmentRequest(name="main")),
            ("RenameEnvironment", rename),
        ):
            assert "always there" in str(await refused(client.call(method, request)))
        await client.call("CreateEnvironment", pb.EnvironmentRequest(name="empty"))
        assert (await known(client))["empty"] == (0, 0)
        await client.call("DeleteEnvironment", pb.EnvironmentRequest(name="empty"))
        assert "empty" not in await known(client)


@in_loop
async def test_a_variant_is_that_of_the_present_version_after_a_rename(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a", "old/app")
        await client.call("PutSecret", pb.PutSecretRequest(**secret("old")))
        mount = VolumeMount(path="/notes", name="notes", environment="old")
        named = [pb.NamedSecret(name="key", environment="old")]
        request = pb.VariantRequest(
            function_id=await client.find("f", "old/app"),
            spec=spec_message(spec("f", volumes=(mount,))),
            fields=["volumes"],
            replaces_secrets=True,
            named_secrets=named,
        )
        former = (await client.call("Variant", request)).function_id
        await client.call(
            "RenameEnvironment", pb.RenameEnvironmentRequest(name="old", new_name="new")
        )
        await client.until_ended("new/app")
        present = (await client.send(former)).data.decode()
        assert present != former
        code = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=present), metadata=client.metadata
        )
        assert [one.environment for one in code.function.spec.volumes] == ["new"]
        assert [one.environment for one in code.function.named_secrets] == ["new"]
