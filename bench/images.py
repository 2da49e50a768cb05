"""Building images: a chain of six steps from nothing, unchanged, changed, and in another order.

    .venv/bin/python bench/images.py [--quick] [--json FILE] [--check] [--results DIR]

The chain is a Debian base, a package of Debian, one of PyPI, a folder of 500 local files, a command
that reads them and one that reads what that made. Built in a store of its own, which is removed.
With --quick the base is the one that earlier runs and the tests have made, and counts as built.
"Unchanged" is all that a client and a node do about an image whose layers are there: hash its local
files, name its layers, look at each.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab import script
from rekindle import Image
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.store import LayerStore
from rekindle.wire.images import names

FILES = 500
FILE_BYTES = 2_000
ROUNDS, QUICK_ROUNDS = 40, 10
#: Promised in SPECIFICATION.md.
UNCHANGED_MS = 50.0
LAYERS = 6
KEPT = Path(sys.prefix) / "share" / "rekindle" / "images"


def chain(folder: Path, fifth: str = "cat /files/* | wc -c > /size") -> Image:
    """Six steps, each a layer."""
    return (
        Image.debian_slim("3.13")
        .apt_install("jq")
        .pip_install("six")
        .add_local_dir(folder, "/files", copy=True)
        .run_commands(fifth)
        .run_commands("cp /size /copied; find / -xdev -type f | wc -l > /counted")
    )


def write_files(folder: Path, numbers: list[int]) -> Path:
    """Local files, made in an order."""
    folder.mkdir()
    for number in numbers:
        (folder / f"file-{number}").write_text(f"{number}\n" * (FILE_BYTES // len(f"{number}\n")))
    return folder


def built(image: Image, store: LayerStore) -> tuple[float, list[str], str]:
    """Seconds that it took, the steps that were built, and the image's name."""
    steps: list[str] = []

    def watch(step: str, line: str) -> None:
        if not line:
            steps.append(step)

    began = time.perf_counter()
    made = ensure(image.spec(), store=store, watch=watch)
    took_s = time.perf_counter() - began
    assert made is not None
    return took_s, steps, made.name


def with_base(store: LayerStore) -> None:
    """Take over the base that is kept, made once."""
    base = Image.debian_slim("3.13")
    ensure(base.spec(), store=LayerStore(KEPT))
    (name,) = names(base.spec().steps)
    (store.root / "layers").mkdir(parents=True)
    (store.root / "layers" / name).symlink_to(KEPT / "layers" / name)


def measure(scratch: Path, *, quick: bool) -> dict[str, object]:
    """All of it, in one store."""
    store = LayerStore(scratch / "images")
    os.environ["REKINDLE_IMAGES"] = str(store.root)
    if quick:
        with_base(store)
    folder = write_files(scratch / "files", list(range(FILES)))
    nothing_s, steps, name = built(chain(folder), store)
    layers = {layer.title: layer.elapsed_s for layer in store.all()}
    unchanged = [built(chain(folder), store) for _ in range(QUICK_ROUNDS if quick else ROUNDS)]
    assert all(one[1:] == ([], name) for one in unchanged)
    other = write_files(scratch / "other", list(range(FILES))[::-1])
    reordered_s, reordered, reordered_name = built(chain(other), store)
    changed_s, changed, _ = built(chain(folder, "cat /files/* | wc -l > /size"), store)
    return {
        "nothing_s": nothing_s,
        "built": len(steps),
        "layers_s": layers,
        "unchanged_ms": 1000 * statistics.median(one[0] for one in unchanged),
        "unchanged_most_ms": 1000 * max(one[0] for one in unchanged),
        "reordered_ms": 1000 * reordered_s,
        "reordered_built": len(reordered),
        "reordered_same": reordered_name == name,
        "changed_s": changed_s,
        "changed_built": len(changed),
    }


def main() -> int:
    """Measure and show; 1 where --check finds a promise that is not kept."""
    options = script.options("images", (__doc__ or "").splitlines()[0])
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rekindle-images-", dir="/var/tmp") as scratch:
        found = measure(Path(scratch), quick=options.quick)
        shutil.rmtree(Path(scratch) / "images", ignore_errors=True)
    machine = machines.describe()
    nothing_s, changed_s = float(str(found["nothing_s"])), float(str(found["changed_s"]))
    unchanged_ms, reordered_ms = (
        float(str(found[one])) for one in ("unchanged_ms", "reordered_ms")
    )
    shown = Table(title=f"A chain of {LAYERS} layers", title_justify="left")
    for column in ("build", "layers built", "of the first", "took"):
        shown.add_column(column, justify="left" if column == "build" else "right")
    first = "from nothing" + (", but for the base" if options.quick else "")
    shown.add_row(first, str(found["built"]), "1", f"{nothing_s:.1f} s")
    part = changed_s / nothing_s
    shown.add_row(
        "step 5 changed", str(found["changed_built"]), f"{part:.3f}", f"{changed_s:.2f} s"
    )
    part = unchanged_ms / 1000 / nothing_s
    shown.add_row("unchanged", "0", f"{part:.5f}", f"{unchanged_ms:.1f} ms")
    part = reordered_ms / 1000 / nothing_s
    shown.add_row(
        f"its {FILES} files made in another order",
        str(found["reordered_built"]),
        f"{part:.5f}",
        f"{reordered_ms:.1f} ms",
    )
    console.print(shown)
    console.print(f"[dim]{machines.line(machine)}[/]")
    write_json(options.json, {"machine": machine, **found})
    console.print(f"[dim]figures: {options.json}[/]\n")
    promises = [
        script.Promise(
            "H2",
            f"a chain of {LAYERS} layers that are there takes at most {UNCHANGED_MS:g} ms "
            f"({unchanged_ms:.1f})",
            unchanged_ms <= UNCHANGED_MS,
        ),
        script.Promise(
            "H3",
            f"a changed step builds itself and what stands on it ({found['changed_built']} of "
            f"{LAYERS}), and files in another order build nothing ({found['reordered_built']})",
            found["changed_built"] == 2
            and found["reordered_built"] == 0
            and bool(found["reordered_same"]),
        ),
    ]
    return script.verdict(console, promises, check=options.check)


if __name__ == "__main__":
    script.run(main)
