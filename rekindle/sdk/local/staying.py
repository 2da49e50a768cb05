"""The instance of what is to stay when this program has ended: the one of ``rekindle up``.

One that lingers would end after its last program and take along what was deployed there, so it is
not used: the one that stays is brought up in its place.
"""

from __future__ import annotations

import os
from pathlib import Path

from rekindle import paths
from rekindle.exception import InvalidError
from rekindle.sdk.local import announcing, choosing, daemon, lingering, session
from rekindle.sdk.local import directory as instance
from rekindle.sdk.local.session import Session


def place() -> Path:
    """The directory of that instance, whether it is up or not."""
    named = os.environ.get(choosing.VARIABLE)
    return Path(named).absolute() if named else paths.daemon_dir()


@paths.at_home()
def begin() -> Session:
    """Use ``$REKINDLE_DIR`` or what ``rekindle up`` keeps, which is brought up where it is not.

    Raises ConnectionError; InvalidError for a ``$REKINDLE_DIR`` that does not stay; SetupError
    where a backup has not arrived whole.
    """
    if (named := choosing.named()) is not None:
        if named.name.startswith(("rk-", "rekindle-")):  # paths.new_session_dir
            raise InvalidError(
                f"the instance in REKINDLE_DIR={named} ends after its last program, and what is "
                f"to stay would end with it: unset it; `rekindle up` keeps an instance"
            )
        session.say_unused(named)
        return Session(named)
    directory = paths.daemon_dir()
    if choosing.kept() is None:
        announcing.say(
            f"no instance is up: starting one that stays, as `rekindle up` does ({directory}); "
            f"`rekindle down` ends it",
            stays=True,
        )
        with lingering.turn():
            if instance.supervisor_pid(directory) is None:
                daemon.check(directory)
                daemon.start(directory, session.START_S)
    else:
        session.say_unused(directory)
    return Session(directory)
