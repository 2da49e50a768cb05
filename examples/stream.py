"""A text that comes word by word, as of a language model: its reader stops when it is enough.

rekindle run examples/stream.py
rekindle run examples/stream.py --start Ahab --sentences 3

A chain of word pairs is made of Moby Dick once; each call walks it from a word on.
"""

import collections
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import rekindle

app = rekindle.App("stream")
TEXT = Path(__file__).with_name("data") / "moby_dick.txt"


@app.cls(enable_memory_snapshot=True)
class Writer:
    @rekindle.enter(snap=True)
    def read(self) -> None:
        words = TEXT.read_text(encoding="utf-8").split()
        self.next_words = collections.defaultdict(list)
        for word, following in itertools.pairwise(words):
            self.next_words[word].append(following)

    @rekindle.method()
    def words(self, start: str, seed: int) -> Iterator[str]:
        """Without an end: its reader says when."""
        chance, word = random.Random(seed), start
        while True:
            yield word
            word = chance.choice(self.next_words.get(word) or ["The"])


@app.local_entrypoint()
def main(start: str = "The", sentences: int = 2, seed: int = 1) -> None:
    left = sentences
    for word in Writer().words.remote_gen(start, seed):
        print(word, end=" ", flush=True)
        left -= word.endswith((".", "!", "?"))
        if not left:
            break
    print()
