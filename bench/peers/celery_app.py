"""The tasks of the Celery worker, and its configuration."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from peers import work

app = Celery("peers", broker=os.environ["PEER_REDIS"], backend=os.environ["PEER_REDIS"])
app.conf.update(
    task_serializer="pickle",
    result_serializer="pickle",
    accept_content=["pickle", "json"],
    worker_prefetch_multiplier=int(os.environ.get("PEER_PREFETCH", "4")),
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)

_model: Any = None
if os.environ.get("PEER_PRELOAD") == "torch":
    import torch

    torch.set_num_threads(1)  # before the worker forks; see work.model
elif os.environ.get("PEER_PRELOAD") == "model":
    _model = work.model()


@app.task
def nothing(_n: int = 0) -> None:
    """Do nothing."""


@app.task
def nap(milliseconds: float) -> None:
    """Take some time."""
    work.nap(milliseconds)


@app.task
def look(value: Any) -> int:
    """Take a payload."""
    return work.look(value)


@app.task
def payload(kind: str, size: int) -> Any:
    """Give a payload."""
    return work.payload(kind, size)


@app.task
def fresh() -> list[Any]:
    """How many calls this process has served."""
    return work.fresh()


@app.task
def meet(directory: str, count: int) -> int:
    """Be here together with the other workers."""
    if work.forward(_model) == 0:
        raise RuntimeError("the model gave nothing")
    return work.meet(directory, count)
