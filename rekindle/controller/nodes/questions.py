"""What agents were asked and have not answered yet. Knows nothing of what is asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rekindle.controller.state import Agent
from rekindle.wire import rekindle_pb2 as pb

AnswerT = TypeVar("AnswerT")


@dataclass(eq=False)
class Questions(Generic[AnswerT]):
    """Questions of one kind, each to one agent, by their ids."""

    _open: dict[str, tuple[Agent, asyncio.Future[AnswerT]]] = field(default_factory=dict)

    async def ask(self, agent: Agent, request_id: str, message: pb.ControllerMessage) -> AnswerT:
        """Send a question, and wait for its answer as long as the caller does."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._open[request_id] = agent, answer
        try:
            agent.send(message)
            return await answer
        finally:
            del self._open[request_id]

    def answered(self, request_id: str, answer: AnswerT) -> None:
        """An agent's answer. One that comes too late is dropped."""
        _, waiting = self._open.get(request_id, (None, None))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def lost(self, agent: Agent, answer: AnswerT) -> None:
        """An agent is gone: this is the answer to what it was asked."""
        for request_id, (asked, _) in self._open.items():
            if asked is agent:
                self.answered(request_id, answer)
