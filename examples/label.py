"""A person decides what a model cannot: messages are sorted, and the doubtful ones are asked about.

    rekindle run -i examples/label.py

Two runners sort messages side by side. Each counts words, and asks on your terminal where that
says nothing; one question at a time, whichever runner has it. Answer work, home, or nothing for
neither; Ctrl-D leaves the rest of a batch undecided.
"""

from __future__ import annotations

import rekindle

app = rekindle.App("label")

WORDS = {"work": {"invoice", "meeting", "deadline"}, "home": {"dinner", "garden", "birthday"}}
MESSAGES = [
    ["Meeting moved to Monday", "Dinner at eight?", "The deadline is near"],
    ["Happy birthday!", "Can you bring the ladder", "Invoice 1702"],
]


def guess(message: str) -> str | None:
    """The label whose words are in the message; None where there is no such, or several."""
    words = set(message.lower().strip("!?.").split())
    found = [label for label, known in WORDS.items() if words & known]
    return found[0] if len(found) == 1 else None


@app.function(max_containers=2)
def sort(messages: list[str]) -> list[str]:
    """A label for each message."""
    labels = []
    for message in messages:
        label = guess(message)
        if label is None:
            with rekindle.interact():  # the terminal is this runner's, until the block ends
                try:
                    label = input(f"{message!r} is about: ")
                except EOFError:
                    label = ""
        labels.append(label or "undecided")
    return labels


@app.local_entrypoint()
def main() -> None:
    answers = list(sort.map(MESSAGES))  # all of them, before anything is printed between questions
    for messages, labels in zip(MESSAGES, answers, strict=True):
        for message, label in zip(messages, labels, strict=True):
            print(f"{label:10} {message}")
