"""Dynamic batching: callers pass single items, the model gets lists.

    rekindle run examples/batching.py::one_by_one
    rekindle run examples/batching.py::at_once

`one_by_one` waits for each result before it makes the next call, so every batch has one item, and
each waits `wait_ms` in vain. `at_once` makes all calls and then waits: they are one batch.
"""

from __future__ import annotations

import asyncio

import rekindle

app = rekindle.App("batching")


@app.cls()
class Model:
    @rekindle.enter()
    def load(self) -> None:
        # A score from 0 to 1 of a text: the mean of its letters.
        self.pipeline = lambda texts: [
            sum(map(ord, text)) / (len(text) * ord("z")) for text in texts
        ]

    @rekindle.method()
    @rekindle.batched(max_batch_size=5, wait_ms=5000)
    def predict(self, texts_dataset: list[dict[str, str]]) -> list[dict[str, float]]:
        print("current batch: ", texts_dataset)
        scores = self.pipeline([item["text"] for item in texts_dataset])
        return [{"score": score} for score in scores]


@app.local_entrypoint()
def one_by_one() -> None:
    magic = Model()
    res1 = magic.predict.remote({"text": "abc"})
    print("called res1")
    res2 = magic.predict.remote({"text": "zyx"})
    print("called res2")
    res3 = magic.predict.remote({"text": "pqr"})
    print("called res3")
    print(res1)
    print(res2)
    print(res3)


@app.local_entrypoint()
async def at_once() -> None:
    magic = Model()
    res1 = magic.predict.remote.aio({"text": "abc"})
    print("called res1")
    res2 = magic.predict.remote.aio({"text": "zyx"})
    print("called res2")
    res3 = magic.predict.remote.aio({"text": "pqr"})
    print("called res3")
    results = await asyncio.gather(res1, res2, res3)
    print(results)
