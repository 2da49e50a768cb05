"""A build, and what it says."""

from __future__ import annotations

from pathlib import Path

from rekindle import Image
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.built import BuiltImage
from rekindle.runtime.images.store import LayerStore


class Said:
    """What builds say."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.lines: list[str] = []

    def __call__(self, step: str, line: str) -> None:
        if line:
            self.lines.append(line)
        else:
            self.began.append(step)


def build(image: Image, store: LayerStore) -> tuple[BuiltImage, Said]:
    said = Said()
    built = ensure(image.spec(), store=store, watch=said, secret_values=image.secret_values())
    assert built is not None
    return built, said


def files_of(layer: Path) -> set[str]:
    return {str(p.relative_to(layer)) for p in layer.rglob("*") if not p.is_dir()}
