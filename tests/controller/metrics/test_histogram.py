"""Durations in a few hundred bytes."""

from __future__ import annotations

import json

import pytest

from rekindle.controller.metrics.histogram import service_times


def test_mean_and_quantiles_are_what_was_added() -> None:
    service = service_times()
    for i in range(100):
        service.add(0.010 if i < 90 else 1.0)
    assert service.mean_s == pytest.approx(0.109)
    assert service.quantile_s(0.5) == pytest.approx(0.010, rel=0.2)
    assert service.quantile_s(0.95) == pytest.approx(1.0, rel=0.2)


def test_it_survives_json_and_two_can_be_joined() -> None:
    service, other = service_times(), service_times()
    service.add(0.5, 3)
    other.add(2.0)
    back = service_times(json.loads(json.dumps(service.to_list())))
    back.join(other)
    assert back.count == 4
    assert back.mean_s == pytest.approx(3.5 / 4)


def test_old_values_fade_and_it_stays_small() -> None:
    service = service_times()
    for _ in range(30_000):
        service.add(1.0)
    for _ in range(60_000):
        service.add(0.001)
    assert service.mean_s < 0.2
    assert len(json.dumps(service.to_list())) < 500


def test_nothing_is_zero() -> None:
    assert service_times().mean_s == 0.0
    assert service_times().quantile_s(0.9) == 0.0
