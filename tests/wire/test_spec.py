"""How inputs may share runners, as a spec says it."""

from __future__ import annotations

import pytest

from rekindle.exception import InvalidError
from rekindle.wire.spec import FunctionSpec, check_sharing


def test_a_class_of_several_methods_has_no_batches() -> None:
    spec = FunctionSpec(app_name="app", name="C", kind="cls", methods=("a", "b"), max_batch_size=4)
    with pytest.raises(InvalidError, match="it has the methods a, b; a class with batches has one"):
        check_sharing(spec.name, spec)
