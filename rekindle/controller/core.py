"""What all parts of a controller share: its memory, settings, background tasks and events."""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.controller.events import Events
from rekindle.controller.settings import Settings
from rekindle.controller.state import State
from rekindle.controller.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Core:
    """Made first; knows none of the parts."""

    state: State
    settings: Settings
    tasks: Tasks = field(default_factory=Tasks)
    events: Events = field(default_factory=Events)
