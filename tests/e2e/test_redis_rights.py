"""An instance on a Redis of the user's, as a user who has the rights that are documented alone."""

from __future__ import annotations

from tests.controller.harness import running_instance
from tests.e2e.harness import Home
from tests.redis_server import denied, documented_rights, user_with

_SCRIPT = """
import rekindle
from rekindle import Dict, Queue

app = rekindle.App("rights")

@app.function(secrets=[rekindle.Secret.from_dict({"KEY": "value"})])
def double(x):
    print("asked for", x)
    return 2 * x

@app.function(schedule=rekindle.Period(hours=9))
def tick():
    return "ticked"

@app.local_entrypoint()
def main():
    assert double.remote(1) == 2
    assert list(double.map(range(300))) == list(range(0, 600, 2))
    assert double.spawn(4).get() == 8
    double.spawn(5).cancel()
    with Dict.ephemeral() as d, Queue.ephemeral() as q:
        d["a"] = 1
        q.put("b")
        assert d.pop("a") == 1 and q.get() == "b"
    print("served")
"""


def test_all_is_done_with_the_documented_rights(home: Home) -> None:
    needed, more = documented_rights()
    with running_instance(start=False) as elsewhere:
        elsewhere.start_redis()
        with elsewhere.redis_client() as server:
            url = user_with(server, elsewhere.directory, [*needed, *more])
            home.up(REKINDLE_REDIS_URL=url)
            script = home.script(_SCRIPT)
            assert home.run(script).out.endswith("served\n")
            assert "asked for" in home.rekindle("logs", "rights").out
            home.rekindle("deploy", script)
            assert "Submitted fc-" in home.rekindle("schedule", "run", "rights.tick").out
            home.rekindle("pool", "set", "rights.double", "--max", "3")
            home.rekindle("secret", "create", "kept", "A=b")
            home.rekindle("environment", "create", "other")
            home.rekindle("environment", "rename", "other", "another")
            assert home.status()["redis"]["up"]
            home.rekindle("app", "stop", "rights", "--yes")
            home.rekindle("down")
            assert not denied(server)
