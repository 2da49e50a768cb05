"""What is asked of the controller about named secrets. Imported when it is used."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from rekindle.sdk import checks, running
from rekindle.sdk.calls.callers import Caller
from rekindle.sdk.environments import environment_of
from rekindle.sdk.secret_info import SecretInfo, SecretReference
from rekindle.wire import rekindle_pb2 as pb


async def create(
    caller: Caller,
    name: str,
    values: Mapping[str, str | None],
    environment: str | None,
    *,
    keep: bool = False,
    replace: bool = False,
) -> SecretInfo:
    """Raises AlreadyExistsError, InvalidError."""
    checks.name("the secret name", name)
    request = pb.PutSecretRequest(
        secret=pb.SecretRef(name=name, environment=environment_of(environment)),
        values=checks.environment(f"the secret {name!r}", values),
        keep=keep,
        replace=replace,
        new_id=f"se-{secrets.token_hex(11)}",
    )
    return _info(await caller.run(running.client_of().request("PutSecret", request, pb.SecretInfo)))


async def update(
    caller: Caller, reference: SecretReference, values: Mapping[str, str | None]
) -> None:
    """Raises NotFoundError, InvalidError."""
    request = pb.PutSecretRequest(
        secret=_ref(reference), values=checks.environment("Secret.update", values), merge=True
    )
    await caller.run(running.client_of().request("PutSecret", request, pb.SecretInfo))


async def info(caller: Caller, reference: SecretReference) -> SecretInfo:
    """Raises NotFoundError."""
    question = running.client_of().request("GetSecret", _ref(reference), pb.SecretInfo)
    return _info(await caller.run(question))


async def listed(caller: Caller, environment: str | None) -> list[SecretInfo]:
    """Those of an environment."""
    request = pb.ListSecretsRequest(environment=environment_of(environment))
    question = running.client_of().request("ListSecrets", request, pb.ListSecretsReply)
    return [_info(one) for one in (await caller.run(question)).secrets]


async def delete(caller: Caller, name: str, environment: str | None, allow_missing: bool) -> None:
    """Raises NotFoundError."""
    request = pb.DeleteSecretRequest(
        secret=pb.SecretRef(name=name, environment=environment_of(environment)),
        allow_missing=allow_missing,
    )
    await caller.run(running.client_of().request("DeleteSecret", request, pb.DeleteSecretReply))


async def rotate(caller: Caller) -> pb.RotateSecretKeyReply:
    """Raises SetupError, ServiceError."""
    request = pb.RotateSecretKeyRequest()
    return await caller.run(
        running.client_of().request("RotateSecretKey", request, pb.RotateSecretKeyReply)
    )


def _ref(reference: SecretReference) -> pb.SecretRef:
    return pb.SecretRef(name=reference.name, environment=reference.environment, id=reference.id)


def _info(message: pb.SecretInfo) -> SecretInfo:
    return SecretInfo(
        message.name,
        message.environment,
        message.id,
        tuple(message.keys),
        datetime.fromtimestamp(message.created_ns / 1e9, UTC),
        datetime.fromtimestamp(message.updated_ns / 1e9, UTC),
    )
