"""Named secrets at a real controller with a real Redis: sealed, changed, given to agents alone."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rekindle.controller.objects.vault import Vault
from rekindle.controller.storage import keys
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.exception import SetupError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.errors import from_rpc_error
from rekindle.wire.messages import spec_message
from rekindle.wire.spec import FunctionSpec
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec

VALUE = "swordfish-4712"


def put(name: str, values: dict[str, str], **more: Any) -> pb.PutSecretRequest:
    ref = pb.SecretRef(name=name)
    return pb.PutSecretRequest(secret=ref, values=values, **{"new_id": new_id("se"), **more})


async def refused(client: Client, method: str, request: Any) -> str:
    with pytest.raises(Exception) as caught:
        await client.call(method, request)
    error = from_rpc_error(caught.value)
    return f"{type(error).__name__}: {error}"


async def given(client: Client, *named: pb.NamedSecret, **declared: str) -> dict[str, str]:
    """What an agent gets for a function that has these."""
    of = FunctionSpec(app_name="app", name="f")
    request = pb.RegisterAppRequest(
        app_id=new_id("ap"),
        name="app",
        functions=[pb.FunctionDef(spec=spec_message(of), secrets=declared, named_secrets=named)],
    )
    reply = await client.call("RegisterApp", request)
    return await fetched(client, reply.functions[0].function_id)


async def fetched(client: Client, function_id: str) -> dict[str, str]:
    reply = await client.gateway.FetchSecrets(
        pb.FetchFunctionRequest(function_id=function_id), metadata=client.metadata
    )
    return dict(reply.values)


def on_disk(directory: Path, text: str) -> list[str]:
    found = subprocess.run(
        ["grep", "-rlF", text, str(directory)], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


@in_loop
async def test_nothing_on_disk_has_a_value_and_the_key_is_for_its_owner_alone(
    shared: Instance,
) -> None:
    async with Client(shared) as client:
        name = new_id("sealed")
        info = await client.call("PutSecret", put(name, {"A": VALUE, "B": "x"}))
        assert (list(info.keys), info.name) == (["A", "B"], name)
        assert VALUE not in str(info)
        values = await given(client, pb.NamedSecret(name=name), C=f"{VALUE}-declared")
        assert values == {"A": VALUE, "B": "x", "C": f"{VALUE}-declared"}
        assert on_disk(shared.directory, name)  # Redis has its record, and the log may
        assert on_disk(shared.directory, VALUE) == []
        key = shared.directory / "secrets.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


@in_loop
async def test_one_that_is_there_is_replaced_or_added_to_only_where_asked(
    shared: Instance,
) -> None:
    async with Client(shared) as client:
        name = new_id("kept")
        first = put(name, {"A": "1"})
        made = await client.call("PutSecret", first)
        assert (await client.call("PutSecret", first)).id == made.id  # sent again
        said = await refused(client, "PutSecret", put(name, {"A": "2"}))
        assert said.startswith("AlreadyExistsError") and "--force" in said
        assert (await client.call("PutSecret", put(name, {"A": "2"}, keep=True))).id == made.id
        await client.call("PutSecret", put(name, {"B": "2"}, merge=True, new_id=""))
        assert await given(client, pb.NamedSecret(name=name)) == {"A": "1", "B": "2"}
        replaced = await client.call("PutSecret", put(name, {"C": "3"}, replace=True))
        assert (replaced.id, list(replaced.keys)) == (made.id, ["C"])
        assert await given(client, pb.NamedSecret(id=made.id)) == {"C": "3"}


@in_loop
async def test_later_ones_count_whether_named_or_declared(shared: Instance) -> None:
    async with Client(shared) as client:
        one, two = new_id("one"), new_id("two")
        await client.call("PutSecret", put(one, {"A": "one", "B": "one", "C": "one"}))
        await client.call("PutSecret", put(two, {"B": "two"}))
        named = [pb.NamedSecret(name=one, kept=["C"]), pb.NamedSecret(name=two)]
        values = await given(client, *named, A="before", C="after")
        assert values == {"A": "one", "B": "two", "C": "after"}


@in_loop
async def test_an_app_that_asks_for_what_is_not_there_is_refused(shared: Instance) -> None:
    async with Client(shared) as client:
        name = new_id("partial")
        await client.call("PutSecret", put(name, {"A": VALUE}))
        for named, words in (
            (pb.NamedSecret(name=f"{name}x"), ["NotFoundError", name, "rekindle secret create"]),
            (pb.NamedSecret(name=name, environment="staging"), ["NotFoundError", "staging"]),
            (
                pb.NamedSecret(name=name, required_keys=["A", "Z"]),
                ["InvalidError", "Z", "it has A"],
            ),
        ):
            spec = spec_message(FunctionSpec(app_name="app", name="f"))
            request = pb.RegisterAppRequest(
                app_id=new_id("ap"),
                name="app",
                functions=[pb.FunctionDef(spec=spec, named_secrets=[named])],
            )
            said = await refused(client, "RegisterApp", request)
            assert all(word in said for word in words) and VALUE not in said, said


@in_loop
async def test_values_and_names_that_cannot_be_are_refused_without_being_shown(
    shared: Instance,
) -> None:
    async with Client(shared) as client:
        for name, values in (
            ("has space", {"A": VALUE}),
            ("long", {"A": VALUE + "x" * 32_768}),
            ("key", {"A=B": VALUE}),
            ("nul", {"A": f"{VALUE}\0"}),
        ):
            said = await refused(client, "PutSecret", put(name, values))
            assert said.startswith("InvalidError") and VALUE not in said, said


@in_loop
async def test_everything_is_sealed_with_a_new_key_which_opens_it_alone(instance: Instance) -> None:
    key = instance.directory / "secrets.key"
    async with Client(instance) as client:
        await client.call("PutSecret", put("one", {"A": VALUE}))
        _app_id, (function_id,) = await client.register()
        old = key.read_text()
        reply = await client.call("RotateSecretKey", pb.RotateSecretKeyRequest())
        assert (reply.sealed_again, reply.key_file) == (2, str(key))
        new, *former = key.read_text().splitlines(keepends=True)
        assert former == [old]
        key.write_text(new)  # as an operator removes a former key
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        instance.kill_controller()
        instance.start_controller()
        assert await given(client, pb.NamedSecret(name="one")) == {"A": VALUE}
        assert await fetched(client, function_id) == {"KEY": "value"}
        # With the key that was, nothing opens, and the error says which file to look at.
        key.write_text(old)
        said = await refused(client, "PutSecret", put("one", {"B": "x"}, merge=True))
        assert str(key) in said and VALUE not in said
        key.chmod(0o644)
        said = await refused(client, "PutSecret", put("two", {"B": "x"}))
        assert "chmod 600" in said


@in_loop
async def test_one_secret_that_does_not_open_keeps_no_others_from_being_sealed_with_a_new_key(
    instance: Instance,
) -> None:
    key = instance.directory / "secrets.key"
    async with Client(instance) as client:
        for name in ("a", "b", "c"):
            await client.call("PutSecret", put(name, {"A": VALUE}))
        _app_id, ids = await client.register("app", spec("f"), spec("g"))
        with instance.redis_client() as server:
            record = json.loads(server.hget(keys.SECRETS, "main/b"))
            record["sealed"] = record["sealed"][:-8] + "AAAAAAA="
            server.hset(keys.SECRETS, "main/b", json.dumps(record))
            server.hset(keys.function(ids[0]), "secrets", b"what")
        said = await refused(client, "RotateSecretKey", pb.RotateSecretKeyRequest())
        assert f"the secrets of {ids[0]}" in said or "main/b" in said
        key.write_text(key.read_text().splitlines()[0] + "\n")  # the new one alone
        for name in ("a", "c"):
            assert await given(client, pb.NamedSecret(name=name)) == {"A": VALUE}
        assert await fetched(client, ids[1]) == {"KEY": "value"}


@in_loop
async def test_a_new_key_leaves_what_another_instance_has_sealed_open(instance: Instance) -> None:
    """As of a private session, beside an instance that is up: one key file, two Redis."""
    with running_instance(start=False) as other:
        other.environ["REKINDLE_SECRETS_KEY_FILE"] = str(instance.directory / "secrets.key")
        other.start_redis()
        other.start_controller()
        async with Client(instance) as client, Client(other) as stranger:
            await client.call("PutSecret", put("one", {"A": VALUE}))
            _app_id, (function_id,) = await client.register()
            for _ in range(2):
                await stranger.call("RotateSecretKey", pb.RotateSecretKeyRequest())
            assert await given(client, pb.NamedSecret(name="one")) == {"A": VALUE}
            assert await fetched(client, function_id) == {"KEY": "value"}
            instance.kill_controller()
            instance.start_controller()
            assert await given(client, pb.NamedSecret(name="one")) == {"A": VALUE}


@in_loop
async def test_controllers_that_rotate_at_once_lose_no_key_and_no_change(
    instance: Instance,
) -> None:
    """Two that share a Redis and the key file, while one of them changes secrets."""
    assert instance.redis is not None
    url = redis_url(instance.directory)
    with running_instance(start=False) as other:
        other.environ["REKINDLE_SECRETS_KEY_FILE"] = str(instance.directory / "secrets.key")
        other.start_controller("--redis-url", url)
        async with Client(instance) as client, Client(other) as stranger:
            names = [f"s{number}" for number in range(20)]
            for name in names:
                await client.call("PutSecret", put(name, {"A": "former"}))
            rotations = [
                one.call("RotateSecretKey", pb.RotateSecretKeyRequest())
                for _ in range(10)
                for one in (client, stranger)
            ]

            async def change() -> None:
                for name in names:
                    await client.call("PutSecret", put(name, {"A": "new"}, replace=True))

            await asyncio.gather(change(), *rotations)
            assert len((instance.directory / "secrets.key").read_text().split()) == 21
            for name in names:
                assert await given(stranger, pb.NamedSecret(name=name)) == {"A": "new"}


@in_loop
async def test_what_was_sealed_for_one_name_does_not_open_under_another(instance: Instance) -> None:
    async with Client(instance) as client:
        for name in ("mine", "theirs"):
            await client.call("PutSecret", put(name, {"A": f"{VALUE}-{name}"}))
        with instance.redis_client() as server:
            mine, theirs = (
                json.loads(server.hget(keys.SECRETS, f"main/{name}")) for name in ("mine", "theirs")
            )
            mine["sealed"] = theirs["sealed"]
            server.hset(keys.SECRETS, "main/mine", json.dumps(mine))
        said = await refused(client, "PutSecret", put("mine", {"B": "x"}, merge=True))
        assert "the secret main/mine cannot be opened" in said and VALUE not in said
        assert "was sealed for another" in said


@pytest.mark.needs_root("gives a file away")
def test_a_key_file_of_another_user_is_refused(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "secrets.key")
    sealed = vault.seal("a", {"A": VALUE})
    os.chown(vault.key_file, 61999, 61999)
    with pytest.raises(SetupError, match="owner 61999"):
        vault.open("a", sealed)


@in_loop
async def test_deleted_ones_are_listed_no_more(shared: Instance) -> None:
    async with Client(shared) as client:
        name = new_id("gone")
        ref = pb.SecretRef(name=name, environment="listing")
        await client.call(
            "PutSecret", pb.PutSecretRequest(secret=ref, values={"A": "1"}, new_id=new_id("se"))
        )

        async def listed() -> list[str]:
            wanted = pb.ListSecretsRequest(environment="listing")
            return [one.name for one in (await client.call("ListSecrets", wanted)).secrets]

        assert await listed() == [name]
        assert (await client.call("DeleteSecret", pb.DeleteSecretRequest(secret=ref))).deleted
        assert await listed() == []
        said = await refused(client, "DeleteSecret", pb.DeleteSecretRequest(secret=ref))
        assert said.startswith("NotFoundError")
