"""The programs of docs/secrets.md and docs/volumes.md, and the examples of both topics, run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.e2e.harness import COMMAND, PATIENCE_S, Home

ROOT = Path(__file__).parents[2]


def program(page: str) -> str:
    """All Python of a page."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S))


def test_what_the_pages_show_runs_and_prints_what_it_should(shared: Home) -> None:
    shared.rekindle("secret", "create", "mail", "SMTP_PASSWORD=example", "--force")
    signed = shared.run(shared.script(program("docs/secrets.md"), "signing.py")).out.split()[-1]
    assert re.fullmatch("[0-9a-f]{64}", signed)
    volumes = program("docs/volumes.md").replace("/tmp/books", str(shared.scripts / "books"))
    said = shared.run(shared.script(volumes, "library.py")).out.splitlines()
    assert said == ["Call me Ishmael.", "['moby']"]


def test_the_examples_of_both_topics_run(shared: Home) -> None:
    subprocess.run(
        [COMMAND, "secret", "create", "notes-key", "NOTES_KEY=-", "--force"],
        input="0123456789\n",
        env=shared.environ,
        cwd=shared.scripts,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    said = shared.run(ROOT / "examples" / "signed_notes.py").out
    assert "as it was signed: True\nwith a word changed: False" in said
    book = (ROOT / "examples" / "data" / "moby_dick.txt").read_text()
    (shared.scripts / "data").mkdir()
    (shared.scripts / "data" / "moby_dick.txt").write_text(book)
    example = (ROOT / "examples" / "concordance.py").read_text()
    here = example.replace("/tmp/concordance", str(shared.scripts / "index"))
    said = shared.run(shared.script(here, "concordance.py"), "--word", "ocean").out
    lines = [n for n, line in enumerate(book.lower().splitlines(), 1) if "ocean" in line.split()]
    assert re.search(r"'ocean' is in \d+ lines", said) and lines
    assert "book.txt, words-a.json, words-o.json, words-w.json" in said
