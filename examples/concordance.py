"""A volume that one function fills and another searches: where words stand in a book.

rekindle run examples/concordance.py
rekindle run examples/concordance.py --word ocean
rekindle volume ls concordance -r
"""

import json
import re
from pathlib import Path

import rekindle

app = rekindle.App("concordance")
index = rekindle.Volume.from_name("concordance", create_if_missing=True)
PLACE = Path("/tmp/concordance")
BOOK = Path(__file__).parent / "data" / "moby_dick.txt"


@app.function(volumes={str(PLACE): index})
def note_words(letter: str) -> int:
    """Index the words of the book that begin with a letter; how many there are."""
    found: dict[str, list[int]] = {}
    for number, line in enumerate((PLACE / "book.txt").read_text().splitlines(), start=1):
        for word in re.findall(rf"\b{letter}[a-z]*", line.lower()):
            found.setdefault(word, []).append(number)
    (PLACE / f"words-{letter}.json").write_text(json.dumps(found))
    index.commit()
    return len(found)


@app.function(volumes={str(PLACE): index.read_only()})
def lines_with(word: str) -> list[int]:
    found = json.loads((PLACE / f"words-{word[0]}.json").read_text())
    return found.get(word, [])


@app.local_entrypoint()
def main(word: str = "whale") -> None:
    with index.batch_upload(force=True) as batch:
        batch.put_file(BOOK, "/book.txt")
    letters = sorted({word[0], *"aow"})
    for letter, count in zip(letters, note_words.map(letters), strict=True):
        print(f"{count} words begin with {letter}")
    lines = lines_with.remote(word)
    print(f"{word!r} is in {len(lines)} lines, first in line {lines[0] if lines else '-'}")
    print("the volume has:", ", ".join(entry.path for entry in index.iterdir("/")))
