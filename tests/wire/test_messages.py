"""Messages as plans, options and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.gpus import GpuRequest
from rekindle.wire.messages import (
    as_dict,
    option_messages,
    option_values,
    plan_message,
    plan_of,
    spec_message,
    spec_of,
)
from rekindle.wire.pools import PoolPlan
from rekindle.wire.spec import FunctionSpec, RetrySpec, params_digest
from tests.wire.plans import PLANS


@given(PLANS)
def test_a_plan_survives_its_message(plan: PoolPlan) -> None:
    raw = plan_message(plan).SerializeToString()
    assert plan_of(pb.PoolPlan.FromString(raw)) == plan


def test_unknown_fields_of_a_newer_peer_are_ignored() -> None:
    newer = plan_message(PoolPlan(runners=3)).SerializeToString() + b"\xfa\x01\x05green"
    assert plan_of(pb.PoolPlan.FromString(newer)).runners == 3


@given(PLANS)
def test_a_plan_is_json_that_any_reader_knows(plan: PoolPlan) -> None:
    text = json.dumps(as_dict(plan_message(plan)))
    json.loads(text, parse_constant=pytest.fail)  # "Infinity": no other reader of JSON knows it


NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.text() | NUMBERS))
def test_options_survive_their_messages(options: dict[str, Any]) -> None:
    found = option_values(option_messages(options))
    assert found == options
    assert [isinstance(found[one], bool) for one in options] == [
        isinstance(value, bool) for value in options.values()
    ]


def test_an_option_that_is_no_single_value_is_refused() -> None:
    with pytest.raises(InvalidError, match="keep_s"):
        option_messages({"keep_s": [1, 2]})


def test_json_has_every_field_under_its_name() -> None:
    settings = pb.PoolSettings(policy="fixed", policy_options=option_messages({"keep_s": 33}))
    held = pb.HeldPool(function_id="fu-1", snapshot_bytes=1 << 40)
    pools = pb.PoolsStatus(
        settings=settings,
        pools=[pb.PoolStatus(agents=[pb.PoolAtAgent(agent_id="ag", report=held)])],
    )
    found = as_dict(pools)
    assert found["policy"] == "fixed" and found["policy_options"] == {"keep_s": 33}
    assert (
        found["max_containers"] is None and found["changed"] == {} and found["min_containers"] == 0
    )
    [agent] = found["pools"][0]["agents"]
    assert (agent["agent_id"], agent["function_id"], agent["busy"]) == ("ag", "fu-1", 0)
    assert agent["snapshot_bytes"] == 1 << 40 and "working_set_bytes" not in agent


def test_a_spec_survives_its_message() -> None:
    plain = FunctionSpec(app_name="shop", name="price")
    told = FunctionSpec(
        app_name="shop",
        name="Model",
        kind="cls",
        methods=("price", "total"),
        program=("shop", "/srv/caf\udce9/shop.py"),  # a path that is no UTF-8
        cwd="/srv/caf\udce9",
        env={"NAME": "caf\udce9"},
        sys_path=("/srv/caf\udce9", "/srv"),
        timeout_s=1.5,
        max_containers=3,
        retries=RetrySpec(max_retries=2, backoff_coefficient=2.0),
        cpu=0.5,
        gpu=(GpuRequest(model="H100", count=2), GpuRequest(model="any", memory_mib=8000)),
        gpu_priority=-3,
    )
    for spec in (plain, told):
        raw = spec_message(spec).SerializeToString()
        assert spec_of(pb.FunctionSpec.FromString(raw)) == spec
        assert FunctionSpec.from_json(spec.to_json()) == spec


def test_parameters_are_shown_as_what_names_their_pool() -> None:
    made = as_dict(pb.NodeStats(direct=[pb.DirectCalls(function_id="fu-1", params=b"p", calls=2)]))
    assert json.loads(json.dumps(made["direct"])) == [
        {
            "function_id": "fu-1",
            "params": params_digest(b"p"),
            "calls": 2,
            "failures": 0,
            "busy_s": 0.0,
            "leases": 0,
        }
    ]
