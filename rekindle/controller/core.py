"""What all parts of a controller share: its memory, settings, background tasks and events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller.events import Event
from rekindle.controller.settings import Settings
from rekindle.controller.state import State


@dataclass(slots=True)
class Core:
    """Made first; knows none of the parts."""

    state: State
    settings: Settings
    tasks: BackgroundTasks = field(default_factory=BackgroundTasks)
    #: The one place that acts on events (wiring.py); None until all parts are there.
    act: Callable[[Event], None] | None = None

    def publish(self, event: Event) -> None:
        """Something has happened."""
        if self.act is not None:
            self.act(event)
