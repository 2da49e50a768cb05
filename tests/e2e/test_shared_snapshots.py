"""Two nodes and a store: the second begins with what the first has made."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from rekindle.blobs.store import BlobStore, open_store
from tests.e2e.harness import Home

ROOT = Path(__file__).parents[2]
_EXAMPLE = ROOT / "examples" / "shared_index.py"

pytestmark = pytest.mark.criu


def test_the_example_starts_on_a_second_node_from_the_snapshot_of_the_first(
    home: Home, tmp_path: Path
) -> None:
    url = (tmp_path / "store").as_uri()
    store = open_store(url)
    home.up(REKINDLE_STORE_URL=url)
    said = home.run(_EXAMPLE, "--words", "white whale").out
    assert "lines with 'white whale'" in said
    _until_pushed(store)
    (listed,) = json.loads(home.rekindle("blob", "list", "--json", REKINDLE_STORE_URL=url).out)
    assert listed["kind"] == "snapshots" and listed["whole"] and listed["app"] == "shared-index"
    assert "1 name, " in home.rekindle("blob", "du", "--url", url).out
    home.rekindle("down")

    second = {"REKINDLE_HOME": str(home.root / "second"), "REKINDLE_STORE_URL": url}
    home.up(**second)
    shown = home.run(_EXAMPLE, "--words", "white whale", "--phases", **second)
    assert said in shown.out
    assert "restore" in shown.out + shown.err
    home.rekindle("down", **second)

    home.rekindle("blob", "rm", listed["name"], "--yes", "--url", url)
    assert "would be removed" in home.rekindle("blob", "gc", "--all", "--dry-run", "--url", url).out
    home.rekindle("blob", "gc", "--all", "--url", url)
    assert json.loads(home.rekindle("blob", "list", "--json", "--url", url).out) == []
    assert "set REKINDLE_STORE_URL" in home.rekindle("blob", "du", status=None).err


def _until_pushed(store: BlobStore) -> None:
    pause = threading.Event()
    while not list(store.refs()):
        pause.wait(0.05)
