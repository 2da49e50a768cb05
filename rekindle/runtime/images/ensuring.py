"""STAND-IN until the builder is there."""

from __future__ import annotations

import os
from pathlib import Path

from rekindle.runtime.images.built import BuiltImage
from rekindle.wire.images import ImageSpec, names


async def ensure_image(spec: ImageSpec) -> BuiltImage:
    arguments = spec.base.arguments
    root = Path(arguments["root"])
    mounts = tuple((Path(f.kept), f.target) for s in spec.steps for f in s.files)
    env = {}
    for s in spec.steps:
        env |= s.env
    more = tuple(Path(p) for s in spec.steps for p in s.commands)
    return BuiltImage(list(names(spec.steps))[-1], (*more[::-1], root), tuple(env.items()), None, (), "/usr/bin/python3", "3.13", mounts)
