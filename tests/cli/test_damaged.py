"""Records that cannot be read: where an operator sees them, and how one is set aside."""

from __future__ import annotations

import json

from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.cli.command import rekindle
from tests.controller.harness import Client, Instance, in_loop


def test_they_are_shown_with_what_to_do_and_set_aside(instance: Instance) -> None:
    table = keys.environments((instance.directory / "instance").read_text().strip())

    @in_loop
    async def damage() -> None:
        async with Client(instance) as client:
            await client.call("CreateEnvironment", pb.EnvironmentRequest(name="staging"))

    damage()
    where = instance.directory
    assert rekindle(where, "damaged", "ls").stdout == "All that is kept can be read.\n"
    with instance.redis_client() as server:
        server.hset(table, "staging", "{")
        instance.kill_controller()
        instance.start_controller()
        (one,) = json.loads(rekindle(where, "damaged", "ls", "--json").stdout)
        said = "What is kept of the environment staging cannot be read"
        for command in (("status",), ("damaged", "ls")):
            shown = rekindle(where, *command).stdout
            assert said in shown and f"`rekindle damaged rm {one['id']}`" in shown
        checks = json.loads(rekindle(where, "doctor", "--json").stdout)["checks"]
        (record,) = (check for check in checks if check["name"] == "records")
        assert "environment staging" in record["detail"] and one["id"] in record["remedy"]
        assert rekindle(where, "damaged", "rm", "dr-none", "--yes", status=1).stderr
        done = rekindle(where, "damaged", "rm", one["id"], "--yes").stdout
        assert done == "What was kept of the environment staging is set aside.\n"
        assert not server.hexists(table, "staging")
        assert json.loads(rekindle(where, "damaged", "ls", "--json").stdout) == []
