"""What all parts of a controller share: its memory, settings, background tasks and events."""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller.events import Events
from rekindle.controller.settings import Settings
from rekindle.controller.state import State


@dataclass(frozen=True, slots=True)
class Core:
    """Made first; knows none of the parts."""

    state: State
    settings: Settings
    tasks: BackgroundTasks = field(default_factory=BackgroundTasks)
    events: Events = field(default_factory=Events)
