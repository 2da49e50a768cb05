"""A search index that is built once and then started from on every node.

pip install 'rekindle[blobs]'                            # and s3fs for s3://, ...
export REKINDLE_STORE_URL=file:///mnt/shared/rekindle    # or s3://bucket/rekindle, ...
rekindle run examples/shared_index.py --words "white whale"

The first node builds the index, freezes it and puts the snapshot into the store. Another node with
the same store begins with the snapshot, and fetches of it what it touches.
"""

from collections import defaultdict
from pathlib import Path

import rekindle

app = rekindle.App("shared-index")
BOOK = Path(__file__).parent / "data" / "moby_dick.txt"


@app.cls(enable_memory_snapshot=True)
class Index:
    @rekindle.enter(snap=True)
    def build(self) -> None:
        self.lines = BOOK.read_text().splitlines()
        self.places = defaultdict(set)
        for number, line in enumerate(self.lines):
            for word in line.lower().split():
                self.places[word.strip(".,;:!?\"'")].add(number)

    @rekindle.method()
    def search(self, words: str) -> list[str]:
        found = set.intersection(*[self.places[word] for word in words.lower().split()])
        return [self.lines[number].strip() for number in sorted(found)]


@app.local_entrypoint()
def main(words: str = "ocean") -> None:
    found = Index().search.remote(words)
    print(f"{len(found)} lines with {words!r}")
    for line in found[:3]:
        print(f"  {line}")
