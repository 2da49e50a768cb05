"""What is told of a version whose functions another Python of the nodes runs than its program's.

Agents say so in the logs of the app, too, but who deploys does not read these.
"""

from __future__ import annotations

import asyncio

from rekindle.controller.nodes.orders import Orders
from rekindle.controller.state import App, Function


async def notes_on(orders: Orders, app: App) -> list[str]:
    """A note for all functions that alike is true of, with what to do."""
    alike: dict[tuple[str, str, bool], list[Function]] = {}
    for function in {one.name: one for one in app.functions.values()}.values():
        spec = function.spec
        if not spec.image:
            key = spec.python, spec.python_version, bool(spec.module)
            alike.setdefault(key, []).append(function)
    told = await asyncio.gather(*(orders.other_python(some[0]) for some in alike.values()))
    return [
        f"{', '.join(sorted(one.name for one in some))}: {note}"
        for some, note in zip(alike.values(), told, strict=True)
        if note
    ]
