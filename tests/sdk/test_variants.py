"""What ``with_options`` accepts, and how a variant travels; and the figures of a function."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

import rekindle
from rekindle.exception import ExecutionError, InvalidError
from rekindle.sdk import environments, running, stats
from rekindle.sdk.declaration import DeployedHere
from rekindle.sdk.variants import Variant
from rekindle.wire import rekindle_pb2 as pb
from tests.sdk.fake_controller import FakeController

app = rekindle.App("variants")


@app.function()
def f() -> None: ...


@app.function()
def g() -> Any:
    yield 1


@app.cls()
class C:
    @rekindle.method()
    def m(self) -> None: ...


def test_what_a_variant_cannot_have_is_refused() -> None:
    wrong: Any = {"min_containers": 1}
    with pytest.raises(TypeError, match="update_autoscaler"):
        f.with_options(**wrong)
    wrong = {"memry": 1}
    with pytest.raises(TypeError, match="did you mean 'memory'"):
        f.with_options(**wrong)
    with pytest.raises(InvalidError, match="timeout=0"):
        f.with_options(timeout=0)
    with pytest.raises(InvalidError, match="retries="):
        g.with_options(retries=1)
    made: Any = C
    with pytest.raises(InvalidError, match=r"C\.with_options\(...\)\(\)\.m"):
        made().m.with_options(timeout=5)


def test_options_add_up_and_none_stays() -> None:
    made = f.with_options(timeout=5, env={"A": "1"}).with_options(memory=64, timeout=None)
    made = made.with_options(env={"B": "2"})
    variant = made._declaration
    assert isinstance(variant, Variant)
    assert variant.given == {"timeout": 5, "env": {"A": "1", "B": "2"}, "memory": 64}
    assert variant.base is f._declaration and made.local() is None


def test_no_volumes_and_no_secrets_leave_those_that_are_there() -> None:
    secret, volume = rekindle.Secret.from_dict({"A": "1"}), rekindle.Volume.from_name("notes")
    own: Any = f.with_options(secrets=[secret], volumes={"/notes": volume}, env={"A": "1"})
    made: Any = own.with_options(secrets=[], volumes={}, env={}, timeout=5)
    assert made._declaration.given == {**own._declaration.given, "timeout": 5}
    assert f.with_options(secrets=(), volumes={})._declaration.given == {}
    wrong: Any = {"secrets": {}}
    with pytest.raises(InvalidError, match="secrets= must be a list"):
        f.with_options(**wrong)


def test_one_that_is_not_running_travels_without_its_secrets_or_not_at_all() -> None:
    secret = rekindle.Secret.from_dict({"TOKEN": "x"})
    with environments.code_travels():
        copy: Any = pickle.loads(pickle.dumps(f.with_options(timeout=5)))
        assert copy._declaration.given == {"timeout": 5}
        with pytest.raises(InvalidError, match="pass it on as an argument"):
            pickle.dumps(f.with_options(secrets=[secret]))
    with pytest.raises(ExecutionError, match="its app 'variants' is not running"):
        pickle.dumps(f.with_options(timeout=5))  # as a value


def test_a_variant_is_of_a_certain_version_where_what_it_is_of_is() -> None:
    for version in (2, None):
        named: Any = rekindle.Function.from_name("shop", "f", version=version)
        made = named.with_options(timeout=5)._declaration
        assert isinstance(made, Variant)
        assert made.pinned == made._request("fu-1").pinned == (version is not None)


def test_figures_are_those_of_all_pools_or_of_one_instance() -> None:
    def pool(params: str, busy: int, idle: int, in_flight: int) -> pb.PoolStatus:
        return pb.PoolStatus(params=params, busy=busy, idle=idle, in_flight=in_flight)

    pools = [pool("a", 2, 1, 5), pool("b", 1, 0, 1)]
    function = pb.FunctionStatus(pool=pb.PoolsStatus(pools=pools))
    assert stats.stats_of(function, "") == stats.FunctionCurrentStats(3, 4, 3, 1)
    assert stats.stats_of(function, "b") == stats.FunctionCurrentStats(0, 1, 1, 0)


def test_a_variant_of_an_included_function_has_the_secrets_of_the_whole_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = rekindle.App("part", secrets=[rekindle.Secret.from_dict({"A": "part", "B": "part"})])

    @part.function()
    def read() -> None: ...

    whole = rekindle.App("whole", secrets=[rekindle.Secret.from_dict({"A": "whole", "C": "whole"})])
    whole.include(part)
    client: Any = SimpleNamespace(instance="there")
    # It is as a part of this that it runs.
    monkeypatch.setattr(whole, "deployed", DeployedHere("whole", client, "ap-1"))
    made = read.with_options(secrets=[rekindle.Secret.from_dict({"B": "own"})])._declaration
    assert isinstance(made, Variant)
    assert made._request("fu-1").secrets == {"A": "part", "B": "own", "C": "whole"}


def test_of_the_versions_that_it_was_of_a_variant_knows_the_present_one(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = running.client_of(str(controller.directory))
    version = 0

    async def request(method: str, request: Any, *_: Any) -> pb.FunctionHandle:
        assert method == "Variant" and request.function_id == f"fu-{version}"
        return pb.FunctionHandle(function_id=f"fu-variant-{version}", node_token="token")

    monkeypatch.setattr(client, "request", request)
    made: Any = f.with_options(timeout=7)._declaration
    monkeypatch.setattr(f._declaration, "resolve", lambda: (client, f"fu-{version}", None))
    for version in range(5):
        for _ in range(2):
            assert made.resolve() == (client, f"fu-variant-{version}", None)
    assert made._ids == {(client, "fu-4"): "fu-variant-4"}
