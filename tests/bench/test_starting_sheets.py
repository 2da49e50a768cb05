"""Figures of starts as tables and as JSON."""

from __future__ import annotations

import json

from starting import sheets
from starting.figures import Figures
from starting.strategies import FORK
from tests.bench.startings import burst, figures


def test_every_part_that_was_measured_has_a_sheet_and_no_other() -> None:
    assert sheets.sheets(Figures(machine={})) == []
    shown = sheets.markdown(figures())
    for part in ("no runner idle", "processor time", "at once", "fresh", "waits", "in a row"):
        assert part in shown
    assert "nan" not in shown


def test_ratios_stand_before_the_figures_that_they_are_of() -> None:
    row = sheets.starts(figures()).rows[1]
    assert row[:3] == ["fork, no model", "4.50", "4.50"]


def test_a_restore_is_shown_in_terms_of_crius_command_line() -> None:
    row = sheets.starts(figures()).rows[2]
    assert row[:3] == ["restore, no model", "1.60", "16.0"]


def test_a_burst_says_which_strategies_have_served_it() -> None:
    whole = figures()
    whole.bursts = [burst(FORK, 24.0)]
    whole.bursts[0].served = {"spare": 4, "fork": 20}
    assert sheets.bursts(whole).rows[0][6] == "20 fork, 4 spare"


def test_what_was_not_measured_is_null_in_the_json() -> None:
    whole = figures()
    whole.starts[0].runs.clear()
    told = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert told["starts"][0]["p50_ms"] is None
    assert told["starts"][1]["p50_ms"] == 4.5
    assert told["fresh"]["times_pool"] == 4.0


def test_errors_are_in_the_json() -> None:
    whole = figures()
    whole.starts[0].errors.append("StartError: no")
    assert whole.to_dict()["errors"] == ["no model, spare: StartError: no"]
