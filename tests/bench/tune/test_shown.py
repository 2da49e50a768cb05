import io
from pathlib import Path

import pytest
from rich.console import Console

from rekindle.bench.tune import plot
from rekindle.bench.tune.pools import Node
from rekindle.bench.tune.search import Tried, pareto, recommend, try_all
from rekindle.bench.tune.settings import candidates
from rekindle.bench.tune.table import as_json, rows, table
from rekindle.controller import policies
from rekindle.controller.policies.policy import Prices
from rekindle.exception import InvalidError
from tests.bench.tune.traces import SNAPSHOT, plain, trace

_ARRIVALS = [(40.0 * i + (i % 7) * 3, 0.2) for i in range(300)]


def all_tried(gpus: float = 0.0) -> list[Tried]:
    levels = plain(2.0, gpus=gpus) if gpus else SNAPSHOT
    made = trace(_ARRIVALS, levels)
    names = [name for name in policies.REGISTRY if name != "declared"]
    settings = candidates(names, made, target_ms=100, quantile=0.95, prices=Prices())
    return try_all(made, settings, Prices(), Node())


@pytest.fixture(scope="module")
def tried() -> list[Tried]:
    return all_tried()


def test_the_table_has_a_row_for_each_setting_cheapest_first(tried: list[Tried]) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    front = pareto(tried, 95)
    console.print(table(tried, front, title="what was tried"))
    text = console.export_text()
    assert "what was tried" in text
    places = [
        text.index(" " + one.label + " ") for one in sorted(tried, key=lambda t: t.outcome.cost)
    ]
    assert places == sorted(places)
    assert text.count("•") == len(front)
    assert "GPU" not in text
    assert "evicted" not in text


def test_gpus_are_shown_where_there_are_some() -> None:
    headings, *cells = rows(all_tried(gpus=1.0), [], even=False)
    assert "GPU·h" in headings
    assert {len(row) for row in cells} == {len(headings)}


def test_the_json_has_every_figure_of_the_table(tried: list[Tried]) -> None:
    entries = as_json(tried, pareto(tried, 95))
    assert len(entries) == len(tried)
    for entry in entries:
        assert entry["calls"] == 300
        began = ("cold", "restored", "forked", "spared", "warm")
        assert sum(entry[how] for how in began) == 300
        assert entry["setting"]["policy"] in policies.REGISTRY
        assert entry["cost_per_day"] > 0
    assert any(entry["pareto"] for entry in entries)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_plot_is_a_picture_with_names_on_its_points(
    tmp_path: Path, suffix: str, tried: list[Tried]
) -> None:
    path = tmp_path / "plots" / f"tune{suffix}"
    plot.save(
        tried,
        pareto(tried, 95),
        path,
        title="what was tried",
        percentile=95,
        target_ms=100.0,
        chosen=recommend(tried, target_ms=100.0, percentile=95),
        note="prices",
    )
    data = path.read_bytes()
    assert len(data) > 20_000
    if suffix == ".svg":
        assert b"<!-- target 100 ms -->" in data
        assert b"<!-- snapshot-aware -->" in data
        assert b"Pareto front" in data


def test_nothing_tried_is_nothing_to_plot(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no setting was tried"):
        plot.save([], [], tmp_path / "x.png", title="", percentile=95)
