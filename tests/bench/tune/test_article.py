import pytest

from rekindle.bench.tune import article
from rekindle.controller.policies.policy import Prices

Rows = dict[str, article.Row]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {row.what: row for row in article.rows(article.QUICK_DAYS)}


def test_the_articles_figures_are_what_its_arithmetic_gives(rows: Rows) -> None:
    claimed = [(row.claimed, row.closed) for row in rows.values() if row.claimed is not None]
    assert [claim for claim, _ in claimed] == [8.9, 25.4, 0.56]
    for claim, closed in claimed:
        assert closed == pytest.approx(claim, abs=0.05)


def test_warm_requests_are_counted_twice_in_the_pools_figure(rows: Rows) -> None:
    added_up = next(row for row in rows.values() if row.claimed == 25.4)
    once = rows["... without counting the warm requests twice"]
    assert added_up.closed - once.closed == pytest.approx(900 * 2 / 3600)


@pytest.mark.parametrize(
    "what",
    [
        "one runner always there, more when it is busy",
        "... or nothing kept, every request restored",
        "rekindle's restore (16 ms, before any GPU context), nothing kept",
    ],
)
def test_closed_form_and_simulation_agree(rows: Rows, what: str) -> None:
    row = rows[what]
    assert row.simulated_hours == pytest.approx(row.closed, rel=0.04)


def test_ninety_percent_warm_hits_take_the_window_of_the_closed_form(rows: Rows) -> None:
    row = next(r for what, r in rows.items() if what.startswith("90 % warm by keeping"))
    assert row.hits == pytest.approx(0.9, abs=0.02)
    assert row.simulated_hours is not None
    # Second runners are kept too: more than for one alone, never less.
    assert row.closed < row.simulated_hours < 1.15 * row.closed


def test_the_snapshots_figure_leaves_out_the_runners_that_make_90_percent_warm(rows: Rows) -> None:
    honest = rows["... with the runners that make 90 % warm"]
    claimed = next(row for row in rows.values() if row.claimed == 0.56)
    assert honest.closed - claimed.closed == pytest.approx(
        article.idle_hours(article.keep_for(0.9)), abs=0.01
    )


def test_it_says_plainly_where_the_example_is_off() -> None:
    first, second, third, fourth = article.verdicts(Prices())
    assert "8.9 h is right" in first
    assert "counted twice" in second
    assert "contradicts itself" in third
    assert "0.61 h" in third
    assert "page cache" in fourth
