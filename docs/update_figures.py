"""Put the figures of a benchmark into the README, between the two marks that are there for them.

.venv/bin/python docs/update_figures.py bench/results/demo.md [README.md]
"""

from __future__ import annotations

import sys
from pathlib import Path

START = "<!-- figures: start -->"
END = "<!-- figures: end -->"


def replaced(text: str, block: str) -> str:
    """``text`` with ``block`` between the marks. ValueError where a mark is not there once."""
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ValueError(f"{START} and {END} must each be there once, in this order")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{block.strip()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Rewrite the README; 2 for wrong use."""
    if not 1 <= len(arguments) <= 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    readme = Path(arguments[1] if len(arguments) == 2 else "README.md")
    figures = Path(arguments[0]).read_text(encoding="utf-8")
    text = replaced(readme.read_text(encoding="utf-8"), figures)
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
