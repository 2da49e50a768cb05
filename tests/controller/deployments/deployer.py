"""A client that deploys, for tests with an agent that they play."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from tests.controller.fake_agent import result_of
from tests.controller.harness import Client, new_id, spec


class Deployer(Client):
    """A client that deploys."""

    async def deploy(self, code: str, name: str = "app", **more: Any) -> pb.DeployReply:
        """Deploy ``f``, whose code is named by its digest."""
        app_id = more.pop("app_id", "") or new_id("ap")
        names = more.pop("functions", ("f",))
        functions = [
            pb.FunctionDef(
                spec=spec_message(
                    replace(spec(one) if isinstance(one, str) else one, code_digest=code)
                ),
                code=code.encode(),
                secrets={"OF": code},
            )
            for one in names
        ]
        app = pb.RegisterAppRequest(
            app_id=app_id, name=name, functions=functions, tags=more.pop("tags", None)
        )
        reply: pb.DeployReply = await self.call("Deploy", pb.DeployRequest(app=app, **more))
        return reply

    async def find(self, name: str = "f", app: str = "app", version: int = 0) -> str:
        """The id of a function."""
        request = pb.LookupRequest(app=app, name=name, version=version)
        handle = await self.call("Lookup", request)
        return str(handle.function_id)

    async def variant(self, function_id: str, **more: Any) -> str:
        """The id of a variant of a function, made here."""
        given = spec_message(spec("f", timeout_s=7.0))
        request = pb.VariantRequest(
            function_id=function_id, spec=given, fields=["timeout_s"], **more
        )
        return str((await self.call("Variant", request)).function_id)

    async def app(self, name: str = "app") -> pb.DeployedApp:
        """What is known of an app."""
        return (await self.call("DeployedApps", pb.DeployedAppsRequest(app=name))).apps[0]

    async def until_ended(self, name: str = "app") -> pb.DeployedApp:
        """Wait until no former version is open."""
        while (found := await self.app(name)).draining:
            await asyncio.sleep(0.02)  # it gives no event
        return found

    def send(self, function_id: str, payload: bytes = b"x", **more: Any) -> Any:
        """Call a function."""
        more.setdefault("call_id", new_id("fc"))
        inputs = [pb.Input(index=0, payload=payload)]
        request = pb.SubmitRequest(function_id=function_id, inputs=inputs, last=True, **more)
        return self.call("Invoke", request)


def by_function(assign: pb.Assign) -> pb.Result:
    """An answer: which function it was for."""
    return result_of(assign, assign.function_id.encode())
