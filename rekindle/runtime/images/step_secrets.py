"""Values of named secrets for a step that is built now: from the controller, as for runners.

They go to the step alone; who builds keeps them no longer than that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from rekindle import paths
from rekindle.exception import ConnectionError
from rekindle.wire import errors, rekindle_pb2_grpc
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.images import StepSecret

#: Gives the variables of named secrets, as they are now. Raises Error.
Ask = Callable[[Sequence[StepSecret]], dict[str, str]]

_TIMEOUT_S = 30.0


def of_instance(instance: Path) -> Ask:
    """From the controller of an instance directory."""

    def ask(wanted: Sequence[StepSecret]) -> dict[str, str]:
        try:
            token = paths.token_file(instance).read_text().strip()
        except OSError as error:
            raise ConnectionError(
                f"no rekindle instance at {instance} to ask for {shown(wanted)}: its token cannot "
                f"be read ({error.strerror})"
            ) from None
        named = [pb.NamedSecret(**dataclasses.asdict(one)) for one in wanted]
        with grpc.insecure_channel(
            f"unix:{paths.controller_socket(instance)}", options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            stub = rekindle_pb2_grpc.AgentGatewayStub(channel)  # type: ignore[no-untyped-call]
            try:
                reply: pb.FetchSecretsReply = stub.FetchStepSecrets(
                    pb.FetchStepSecretsRequest(secrets=named),
                    metadata=(("authorization", f"Bearer {token}"),),
                    timeout=_TIMEOUT_S,
                    wait_for_ready=True,
                )
            except grpc.RpcError as error:
                raise errors.from_rpc_error(error) from None
        return dict(reply.values)

    return ask


def shown(wanted: Sequence[StepSecret]) -> str:
    """Their names."""
    return ", ".join(f"the secret {one.name or one.id!r}" for one in wanted)
