"""Figures of starts against size: medians, ratios, JSON."""

from __future__ import annotations

import json
import math

from rekindle.bench.records import Run
from restoring import scaling
from restoring.scaling import Figures, SharedFigures
from tests.bench.scales import figures, size


def test_ratios_are_of_medians_and_of_one_size() -> None:
    one = size(4.0, RESTORE=30.0, FLOOR=20.0)
    assert one.ratio(scaling.RESTORE, scaling.FLOOR) == 1.5
    assert one.phase_ms(scaling.RESTORE, "restore") == 15.0


def test_what_was_not_measured_is_not_a_number() -> None:
    one = size(4.0)
    del one.results[scaling.SMALL]
    one.results[scaling.COLD].runs.clear()
    assert math.isnan(one.ratio(scaling.RESTORE, scaling.SMALL))
    assert math.isnan(one.p50_ms(scaling.COLD))
    assert math.isnan(one.phase_ms(scaling.RESTORE, "fork"))


def test_the_start_alone_is_without_the_way_to_the_node_and_back() -> None:
    one = size(4.0)
    one.results[scaling.FORK].runs = [
        Run(
            total_ms=way + 6.0,
            phases={"queue": way / 2, "fork": 4.0, "execute": 2.0, "store_result": way / 2},
        )
        for way in (1.0, 4.0, 9.0)
    ]
    assert one.p50_ms(scaling.FORK) == 10.0
    assert one.start_ms(scaling.FORK) == 6.0
    assert math.isnan(one.start_ms("nothing"))


def test_memory_together_is_told_in_terms_of_one_runner() -> None:
    shared = SharedFigures(model_bytes=100, alone_pss_bytes=100, pss_bytes=[15] * 8)
    assert shared.ratio == 1.2


def test_the_largest_size_is_found_whatever_the_order() -> None:
    whole = figures()
    whole.sizes.reverse()
    assert whole.largest is not None and whole.largest.gigabytes == 4.0
    assert whole.size(0.1) is not None and whole.size(3.0) is None
    assert Figures(machine={}).largest is None


def test_errors_say_where_they_belong() -> None:
    whole = figures()
    whole.sizes[0].results[scaling.COLD].errors.append("StartError: no")
    whole.at_once[0].errors.append("StartError: full")
    assert whole.errors == [
        "0.1 GB, cold: StartError: no",
        "50 at once, 0.1 GB, restore: StartError: full",
    ]


def test_the_json_has_no_numbers_that_json_does_not_know() -> None:
    whole = figures()
    whole.sizes[0].results[scaling.COLD].runs.clear()
    whole.at_once[0].took_ms.clear()
    raw = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert {"machine", "sizes", "shared", "cold_cache", "embed", "at_once", "limits"} <= raw.keys()
    assert raw["sizes"][1]["series"]["restore"]["p50_ms"] == 25.0
    assert raw["at_once"][0]["p50_ms"] is None
    assert raw["shared"]["ratio"] == whole.shared.ratio.__round__(3)  # type: ignore[union-attr]


def test_an_empty_report_can_be_written() -> None:
    raw = Figures(machine={}).to_dict()
    assert raw["shared"] is None and raw["sizes"] == []
