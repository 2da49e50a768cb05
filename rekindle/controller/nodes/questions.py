"""What agents were asked and have not answered yet. Knows nothing of what is asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rekindle.controller.state import Agent
from rekindle.wire import rekindle_pb2 as pb

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, eq=False)
class _Question(Generic[AnswerT]):
    agent: Agent
    message: pb.ControllerMessage
    answer: asyncio.Future[AnswerT]


@dataclass(eq=False)
class Questions(Generic[AnswerT]):
    """Questions of one kind, each to one agent, by their ids."""

    _open: dict[str, _Question[AnswerT]] = field(default_factory=dict)

    def ask(
        self, agent: Agent, request_id: str, message: pb.ControllerMessage
    ) -> asyncio.Future[AnswerT]:
        """Send a question; its answer. Who cancels that waits for it no more."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._open[request_id] = _Question(agent, message, answer)
        answer.add_done_callback(lambda _: self._open.pop(request_id))
        agent.send(message)
        return answer

    def ask_again(self, agent: Agent) -> None:
        """An agent is back: what was sent over a connection that ended may never have arrived."""
        for one in self._open.values():
            if one.agent is agent and not one.answer.done():
                agent.send(one.message)

    def answered(self, request_id: str, answer: AnswerT) -> None:
        """An agent's answer. One that comes too late is dropped."""
        one = self._open.get(request_id)
        if one is not None and not one.answer.done():
            one.answer.set_result(answer)

    def lost(self, agent: Agent, answer: AnswerT) -> None:
        """An agent is gone: this is the answer to what it was asked."""
        for request_id, one in self._open.items():
            if one.agent is agent:
                self.answered(request_id, answer)
