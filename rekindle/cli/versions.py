"""What tables say of an app that is not just running: it ends, or is a version that nobody gets.

Rows of a former version would look like those of the one that is called.
"""

from __future__ import annotations

from rekindle.wire import rekindle_pb2 as pb


def mark(app: pb.AppStatus) -> str:
    """To be put behind the app's name; empty of what is just running."""
    if app.on_trial:
        return f" (version {app.version}, on trial)"
    if app.draining:
        return f" (version {app.version}, former)"
    return " (closing)" if app.closing else ""
