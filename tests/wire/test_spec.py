"""How inputs may share runners, as a spec says it."""

from __future__ import annotations

import json

import pytest

from rekindle.exception import InvalidError
from rekindle.wire.class_parameters import ClassParameter
from rekindle.wire.gpus import GpuRequest
from rekindle.wire.spec import FunctionSpec, RetrySpec, check_sharing
from rekindle.wire.volumes import VolumeMount


def test_fields_of_a_newer_peer_are_ignored() -> None:
    spec = FunctionSpec(
        app_name="app",
        name="C",
        retries=RetrySpec(max_retries=2),
        gpu=(GpuRequest(model="H200", count=1),),
        volumes=(VolumeMount(path="/v", name="v", environment="main"),),
        parameters=(ClassParameter(name="size", type="int"),),
    )
    raw = json.loads(spec.to_json())
    for one in (raw, raw["retries"], raw["gpu"][0], raw["volumes"][0], raw["parameters"][0]):
        one["later"] = 1
    assert FunctionSpec.from_json(json.dumps(raw)) == spec


def test_a_class_of_several_methods_has_no_batches() -> None:
    spec = FunctionSpec(app_name="app", name="C", kind="cls", methods=("a", "b"), max_batch_size=4)
    with pytest.raises(InvalidError, match="it has the methods a, b; a class with batches has one"):
        check_sharing(spec.name, spec)
