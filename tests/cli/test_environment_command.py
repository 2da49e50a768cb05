"""What ``rekindle environment delete`` counts."""

from __future__ import annotations

from rekindle.cli.environment import _counted


def test_one_of_a_kind_is_singular() -> None:
    assert [_counted(kind, 1) for kind in ("apps", "dicts")] == ["1 app", "1 dict"]
    assert _counted("queues", 2) == "2 queues"
