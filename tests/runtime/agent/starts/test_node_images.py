"""What templates wrote is unpacked once, and is there for as long as it may be below a root."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import Any, cast

from rekindle.runtime.agent.starts.node_images import NodeImages
from rekindle.runtime.agent.starts.roots import RootSource
from rekindle.runtime.images import writes
from rekindle.runtime.images.root import RootRequest, Shown, upper_of


def test_what_templates_wrote_goes_once_no_root_has_it_any_more(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper" / "file").write_text("written")
    writes.pack(tmp_path / "upper", tmp_path)
    images = NodeImages(cast(Any, None), tmp_path, tmp_path / "scratch")

    async def make(request: RootRequest) -> int:
        os.makedirs(upper_of(request.place))
        return os.open(request.place, os.O_RDONLY)

    async def nothing() -> list[Shown]:
        return []

    async def unpacked(key: str) -> Path:
        (place,) = await images.unpacked(key, tmp_path / writes.NAME)
        assert (place / "file").read_text() == "written"
        return place

    def there() -> set[str]:
        return {one.name for one in (tmp_path / "scratch" / "writes").iterdir()}

    async def scenario() -> None:
        blank = RootSource(make, lambda: tmp_path / "root", (), nothing)
        source = blank.with_more([await unpacked("of-a-root")], (), ())
        root = await source.take()
        below = blank.with_more([await unpacked("of-copies")], (), ())
        copies = below.below(root, depth=0, on_done=bool)
        del source, below
        gc.collect()
        await unpacked("of-none")
        assert there() == {"of-a-root", "of-copies", "of-none"}
        await unpacked("of-none")
        await unpacked("next")
        assert there() == {"of-a-root", "of-copies", "next"}
        root.remove()
        del root, copies
        gc.collect()
        await unpacked("last")
        assert there() == {"last"}

    asyncio.run(scenario())
