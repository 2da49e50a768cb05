"""Variants of functions: no more of one app than can be had for months."""

from __future__ import annotations

import pytest

from rekindle.controller import variants
from rekindle.controller.state import Function
from rekindle.controller.wiring import Parts
from rekindle.exception import ResourceExhaustedError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from tests.controller.harness import Instance, in_loop, spec
from tests.controller.in_process import registered, running_parts


async def variant(parts: Parts, base: Function, timeout_s: float) -> Function:
    given = spec_message(spec("f", timeout_s=timeout_s))
    request = pb.VariantRequest(function_id=base.function_id, spec=given, fields=["timeout_s"])
    return await parts.variants.make(base, request)


@in_loop
async def test_an_app_has_so_many_variants_and_one_more_is_refused_with_what_to_do(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "MOST_VARIANTS", 3)
    async with running_parts(redis_alone) as parts:
        base, other = await registered(parts), await registered(parts)
        made = [await variant(parts, base, 10.0 + n) for n in range(3)]
        with pytest.raises(ResourceExhaustedError, match=r"'app' has 3 variants .*as an argument"):
            await variant(parts, base, 20.0)
        assert await variant(parts, base, 11.0) is made[1]
        assert await variant(parts, other, 20.0)
        assert len(base.app.functions) == 4
