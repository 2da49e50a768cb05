"""Who deploys is told what another Python of the nodes runs."""

from __future__ import annotations

from dataclasses import replace

from tests.controller.deployments.deployer import Deployer
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, spec

_NOTE = "cannot run, as it is sent as code of Python 3.9"


@in_loop
async def test_who_deploys_is_told_of_functions_that_nodes_cannot_run(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.python_note = _NOTE
        first = await client.deploy("a", functions=("g", "f", replace(spec("h"), module="m")))
        assert list(first.notes) == [f"f, g: {_NOTE}", f"h: {_NOTE}"]
        agent.python_note = ""
        assert not (await client.deploy("b")).notes


@in_loop
async def test_no_agent_is_waited_for_to_say_which_python_it_has(instance: Instance) -> None:
    async with Deployer(instance) as client:
        assert not (await client.deploy("a")).notes
