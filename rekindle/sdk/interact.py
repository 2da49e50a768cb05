"""``rekindle.interact()``, and its asyncio form. Standard library only."""

from __future__ import annotations

from rekindle.execution.interaction import Interaction
from rekindle.execution.interaction import interact as _interact
from rekindle.sdk.dual import Dual


async def _aio() -> Interaction:
    # The terminal is the main thread's, so the loop waits, as for all that is read from it.
    return _interact()


interact = Dual(_interact, _aio)
