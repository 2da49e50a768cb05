"""Images that tests declare, and what they come to."""

from __future__ import annotations

from rekindle import Image
from rekindle.wire.images import Step


def slim() -> Image:
    """One that others are made of."""
    return Image.debian_slim("3.13")


def last_step(image: Image) -> Step:
    """What was declared last of it."""
    return image.spec().steps[-1]
