"""Plans of pools, for property tests."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from rekindle.wire.pools import Level, PoolPlan, Rest

_LEVELS = st.sampled_from(list(Level))


_SECONDS = st.floats(0, 1e6) | st.just(math.inf)


PLANS = st.builds(
    PoolPlan,
    runners=st.integers(0, 100),
    buffer=st.integers(0, 10),
    active_s=st.floats(0, 600),
    keep_s=_SECONDS,
    max_runners=st.none() | st.integers(1, 100),
    patience_s=_SECONDS,
    base=_LEVELS,
    rest=st.lists(st.builds(Rest, _LEVELS, _SECONDS), max_size=5).map(tuple),
    priority=st.dictionaries(_LEVELS, st.floats(0, 1e9)),
    again_s=st.none() | st.floats(0, 1e6),
    why=st.text(),
)
