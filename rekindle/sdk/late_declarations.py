"""What is declared while its app runs, at a prompt or in a notebook: sent before the next call.

A cell that runs again declares its functions again; the app gets their new code as functions of
their own. Whoever has kept the former function calls the former code. Standard library only, until
something is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rekindle.sdk.declaration import Declaration
    from rekindle.sdk.running import RunningApp


def add(app: RunningApp, declaration: Declaration) -> str:
    """Make it known as one more function of the app; its id. The same code again has the same id.

    Raises as the start of the app does.
    """
    function_id = _sent(app, declaration)
    current = declaration.app.declarations[declaration.name] if declaration.app else declaration
    if current is not declaration:
        _sent(app, current)  # again: by their name the last one is meant
    return function_id


def _sent(app: RunningApp, declaration: Declaration) -> str:
    from rekindle.sdk.connection.background import background
    from rekindle.sdk.program import main_module, registration
    from rekindle.wire import rekindle_pb2 as pb

    assert declaration.app is not None  # it runs
    form = registration.form_of(
        *(declaration.app.whole(), app.name, app.app_id, main_module.current()),
        lambda: app.client.instance,
        detached=app.detached,
        only=declaration,
    )
    ids = background().run(app.client.register(pb.RegisterAppRequest(**form)))
    return ids[declaration.name]
