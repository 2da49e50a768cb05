"""A service that stays: deployed once, called by name from any program, replaced under load.

rekindle deploy examples/deployed.py
rekindle run examples/deployed.py --text "call me Ishmael"
rekindle app history words
rekindle app stop words
"""

import collections

import rekindle

app = rekindle.App("words")


@app.function(enable_memory_snapshot=True)
def count(text: str) -> dict[str, int]:
    return dict(collections.Counter(text.lower().split()).most_common(3))


caller = rekindle.App("words-caller")


@caller.local_entrypoint()
def main(text: str = "the whale and the sea and the ship") -> None:
    # Another program, or another machine's: it needs the names alone, and no code.
    deployed = rekindle.Function.from_name("words", "count")
    for word, times in deployed.remote(text).items():
        print(f"{word}: {times}")
