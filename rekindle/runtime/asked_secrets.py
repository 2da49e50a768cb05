"""Values of secrets, asked of the controller by processes of this machine other than its agent.

Those build a step of an image (images/step_secrets.py), or run a command beside a runner. Programs
get no values. Keeps none of them.
"""

from __future__ import annotations

from pathlib import Path

import grpc
from google.protobuf.message import Message

from rekindle import paths
from rekindle.exception import ConnectionError
from rekindle.wire import errors, rekindle_pb2_grpc
from rekindle.wire import rekindle_pb2 as pb

_TIMEOUT_S = 30.0


def of_function(instance: Path, function_id: str, name: str) -> dict[str, str]:
    """The variables of all secrets of a function, as they are now. Raises Error."""
    request = pb.FetchFunctionRequest(function_id=function_id)
    return ask(instance, "FetchSecrets", request, f"the secrets of {name}")


def ask(instance: Path, method: str, request: Message, what: str) -> dict[str, str]:
    """A request to the controller of an instance directory; ``what`` is in errors. Raises Error."""
    try:
        token = paths.token_file(instance).read_text().strip()
    except OSError as error:
        raise ConnectionError(
            f"no rekindle instance at {instance} to ask for {what}: its token cannot "
            f"be read ({error.strerror})"
        ) from None
    with grpc.insecure_channel(
        f"unix:{paths.controller_socket(instance)}", options=[("grpc.enable_http_proxy", 0)]
    ) as channel:
        stub = rekindle_pb2_grpc.AgentGatewayStub(channel)  # type: ignore[no-untyped-call]
        try:
            reply: pb.FetchSecretsReply = getattr(stub, method)(
                request,
                metadata=(("authorization", f"Bearer {token}"),),
                timeout=_TIMEOUT_S,
                wait_for_ready=True,
            )
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None
    return dict(reply.values)
