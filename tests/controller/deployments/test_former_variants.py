"""Variants of former versions: their ids lead to the same variant of the present version."""

from __future__ import annotations

from dataclasses import replace

from rekindle import exception
from rekindle.controller.deployments.records import KEPT_VERSIONS
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, spec
from tests.controller.refusals import refused


@in_loop
async def test_a_variant_of_a_former_version_is_that_of_the_present(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        former = await client.find()
        variant = await client.variant(former)
        assert (await client.send(variant)).data == variant.encode()
        # While the former version still ends what it has, and when it was put away.
        agent.answer(None)
        running = client.send(former)
        begun = await agent.assigned.get()
        agent.answer(by_function)
        await client.deploy("b")
        present = await client.find()
        now = (await client.send(variant)).data.decode()
        assert now not in (variant, former, present)
        assert now == await client.variant(present) == await client.variant(former)
        await agent.done(begun, b"in the end")
        assert (await running).data == b"in the end"
        await client.until_ended()
        assert (await client.send(variant)).data.decode() == now == await client.variant(former)
        assert (await client.send(variant, pinned=True)).data == variant.encode()


@in_loop
async def test_a_variant_of_a_former_version_has_its_options_and_secrets(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        function = replace(spec("f"), env={"A": "declared"}, timeout_s=30.0)
        await client.deploy("a", functions=(function,))
        secrets = {"replaces_secrets": True, "secrets": {"S": "own"}}
        first = await client.variant(await client.find(), **secrets)
        given = pb.VariantRequest(
            function_id=first,
            spec=spec_message(spec("f", env={"B": "given"}, max_containers=3)),
            fields=["env", "max_containers"],
        )
        second = (await client.call("Variant", given)).function_id
        function = replace(function, env={"A": "newer", "C": "newer"}, timeout_s=60.0)
        await client.deploy("b", functions=(function,))
        await client.until_ended()
        now = (await client.send(second)).data.decode()
        code = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=now), metadata=client.metadata
        )
        assert code.function.code == b"b"
        assert code.function.spec.env == {"A": b"newer", "B": b"given", "C": b"newer"}
        assert (code.function.spec.timeout_s, code.function.spec.max_containers) == (7.0, 3)
        reply = await client.gateway.FetchSecrets(
            pb.FetchFunctionRequest(function_id=now), metadata=client.metadata
        )
        assert reply.values == {"S": "own"}
        # What was made for it is what is made of the present version by hand.
        given.function_id = await client.variant(await client.find(), **secrets)
        assert (await client.call("Variant", given)).function_id == now


@in_loop
async def test_a_variant_of_a_numbered_version_is_of_that_one(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        former = await client.find()
        await client.deploy("b")
        await client.until_ended()
        variant = await client.variant(former, pinned=True)
        assert variant != await client.variant(former)
        assert (await client.send(variant, pinned=True)).data == variant.encode()


@in_loop
async def test_a_variant_is_that_of_the_present_when_its_version_is_not_kept_any_more(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("0")
        former = await client.find()
        plain = await client.variant(former)
        secret = await client.variant(former, replaces_secrets=True, secrets={"S": "value"})
        for number in range(1, KEPT_VERSIONS + 1):
            await client.deploy(str(number))
        await client.until_ended()
        assert not (await client.app()).versions[-1].kept
        assert (await client.send(plain)).data.decode() == await client.variant(former)
        error = await refused(client.send(secret))
        assert isinstance(error, exception.NotFoundError)
        assert "make it again" in str(error)


@in_loop
async def test_an_app_stays_deployed_when_a_variant_of_its_function_is_made(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        former = await client.find()
        variant = await client.variant(former)
        assert (await client.send(variant)).data == variant.encode()
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect()
        await client.deploy("b")
        await client.until_ended()
        assert (await client.send(former)).data == (await client.find()).encode()


@in_loop
async def test_a_new_key_seals_what_a_variant_declares_whose_app_is_put_away(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        given = {"replaces_secrets": True, "secrets": {"S": "value"}}
        variant = await client.variant(await client.find(), **given)
        await client.deploy("b")
        await client.until_ended()
        await client.call("RotateSecretKey", pb.RotateSecretKeyRequest())
        key = instance.directory / "secrets.key"
        key.write_text(key.read_text().splitlines()[0])  # without those that were
        assert (await client.send(variant, pinned=True)).data == variant.encode()
        reply = await client.gateway.FetchSecrets(
            pb.FetchFunctionRequest(function_id=variant), metadata=client.metadata
        )
        assert reply.values == {"S": "value"}
