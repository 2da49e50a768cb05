import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.controller.policies.idle_times import IdleTimes


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1e7), max_size=700))
def test_segments_cover_all_time_once_and_share_out_all_quiet_times(found: list[float]) -> None:
    gaps = IdleTimes()
    for gap in found:
        gaps.add(gap)
    segments = gaps.segments()
    assert segments[0].begins_s == 0
    assert segments[0].survivors == pytest.approx(1.0)
    for one, following in pairwise(segments):
        assert following.begins_s == one.ends_s
        assert following.survivors == pytest.approx(one.survivors - one.ending, abs=1e-6)
        assert one.ending > 0
        assert one.expected_s >= 0
    assert sum(segment.ending for segment in segments) == pytest.approx(1.0, abs=1e-3)
    assert gaps.total == len(found)


def test_a_timer_is_seen_as_exactly_as_it_fires() -> None:
    gaps = IdleTimes()
    rng = random.Random(1)
    for _ in range(20):
        gaps.add(3600 + rng.uniform(-1, 1))
    densest = max(gaps.segments(), key=lambda s: s.ending)
    assert densest.ending > 0.9
    assert 3597 < densest.begins_s < 3599.5
    assert 3600.5 < densest.ends_s < 3603


def test_what_was_long_ago_counts_less() -> None:
    gaps = IdleTimes()
    for _ in range(1000):
        gaps.add(1.0)
    for _ in range(1000):
        gaps.add(1000.0)
    late = sum(s.ending for s in gaps.segments() if s.begins_s >= 700)
    assert late > 0.6


def test_the_expected_time_in_all_segments_is_about_the_mean_quiet_time() -> None:
    gaps = IdleTimes()
    rng = random.Random(2)
    found = [rng.expovariate(1 / 60) for _ in range(400)]
    for gap in found:
        gaps.add(gap)
    # Without the one quiet time more that is spread over all bins, up to three days.
    near = [s for s in gaps.segments() if s.ends_s <= 512]
    assert sum(s.expected_s for s in near) == pytest.approx(60, rel=0.25)
