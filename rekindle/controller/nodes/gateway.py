"""The gRPC service for agents: one stream for each, and the code that it fetches."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from rekindle.controller.apps import Apps
from rekindle.controller.handlers import Context, answered
from rekindle.controller.nodes.agents import Agents
from rekindle.controller.nodes.inbox import AgentInbox
from rekindle.controller.objects.named_secrets import NamedSecrets
from rekindle.controller.service import check_protocol
from rekindle.controller.state import Agent
from rekindle.controller.storage.registry import Registry
from rekindle.exception import Error, InvalidError, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: What ``read`` returns behind the last message; the type stubs lack it.
_EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]

_AGENT = re.compile(r"ag-[0-9A-Za-z_-]{1,64}")


@dataclass(eq=False)
class AgentGateway:
    """Implements ``rekindle.v1.AgentGateway``."""

    _agents: Agents
    _inbox: AgentInbox
    _apps: Apps
    _registry: Registry
    _secrets: NamedSecrets
    behind: Callable[[Error], Awaitable[Error]]

    @answered
    async def Session(self, requests: object, context: Context) -> None:
        """An agent's stream: its messages in, what it is to do out."""
        first = await context.read()
        if first is _EOF:
            return
        hello = _hello(first)
        agent, session = self._agents.join(hello, _is_local(context.peer()))
        outbox = agent.outbox
        assert outbox is not None
        writer = asyncio.create_task(_write(outbox, context), name=f"to {agent.agent_id}")
        reader = asyncio.create_task(self._read(agent, context), name=f"from {agent.agent_id}")
        try:
            await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._agents.leave(agent, session)
            for task in (writer, reader):
                task.cancel()
            ended = await asyncio.gather(writer, reader, return_exceptions=True)
            for outcome in ended:
                if isinstance(outcome, Exception):
                    log.info(
                        "agent stream broke", extra=kv(agent=agent.agent_id, reason=repr(outcome))
                    )

    async def _read(self, agent: Agent, context: Context) -> None:
        read, heard, eof = context.read, self._inbox.heard, _EOF
        while True:
            message = await read()
            if message is eof:
                return
            heard(agent, message)

    @answered
    async def FetchFunction(
        self, request: pb.FetchFunctionRequest, context: Context
    ) -> pb.FetchFunctionReply:
        function = self._apps.function(request.function_id)
        code = await self._registry.load_code(function.function_id)
        if code is None:
            raise NotFoundError(
                f"the code of {request.function_id!r} is gone; run the app, or deploy it, again"
            )
        code.retired = function.app.retired
        code.on_trial = function.app.on_trial
        for one in code.function.named_secrets:
            one.keys[:] = await self._secrets.keys_of(one)
        return code

    @answered
    async def FetchSecrets(
        self, request: pb.FetchFunctionRequest, context: Context
    ) -> pb.FetchSecretsReply:
        function = self._apps.function(request.function_id)
        declared, named = await self._registry.load_secrets(function.function_id)
        return pb.FetchSecretsReply(values=await self._secrets.values(declared, named))

    @answered
    async def FetchStepSecrets(
        self, request: pb.FetchStepSecretsRequest, context: Context
    ) -> pb.FetchSecretsReply:
        await self._secrets.check(request.secrets)
        return pb.FetchSecretsReply(values=await self._secrets.values({}, request.secrets))


def _hello(first: pb.AgentMessage) -> pb.AgentHello:
    if first.WhichOneof("kind") != "hello":
        raise InvalidError("the first message of an agent must be its hello")
    hello = first.hello
    check_protocol(hello.protocol, "agent")
    if not _AGENT.fullmatch(hello.agent_id):
        raise InvalidError(f"{hello.agent_id!r} is not an agent id (ag-...)")
    return hello


def _is_local(peer: str) -> bool:
    return peer.startswith("unix:")


async def _write(outbox: asyncio.Queue[pb.ControllerMessage | None], context: Context) -> None:
    while True:
        message = await outbox.get()
        if message is None:  # a newer connection of the agent took over
            return
        await context.write(message)
