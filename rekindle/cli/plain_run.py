"""``rekindle run FILE`` where nothing else is given: no words have to be understood.

What needs more, a parameter without a value say, goes on as any other command line (run.py).
"""

from __future__ import annotations

import inspect

from rekindle.cli import execution, refs
from rekindle.cli.execution import RunOptions
from rekindle.cli.refs import Target
from rekindle.execution import annotated
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.function import Function

_EMPTY = inspect.Parameter.empty
_PLAIN = {kind: kind.__name__ for kind in (str, int, float, bool)}


def run(reference: str, quiet: bool) -> int:
    """Run it; the exit status."""
    options = RunOptions(quiet=quiet)
    try:
        target = refs.resolve(reference)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's file raised
        execution.show_failure(error)
        return 1
    if _needs_no_words(target):
        return execution.execute(target, options, lambda: execution.call_of(target, options, {}))
    from rekindle.cli import group
    from rekindle.cli import run as command

    return group.shown(lambda: command.run_target(target, options, reference))


def _needs_no_words(target: Target) -> bool:
    """Whether it can be called with nothing, as the options made of its signature would do it."""
    what = target.what
    if isinstance(what, Function):
        if what.is_generator:
            return False  # has an error of its own
    elif not isinstance(what, LocalEntrypoint):
        return False  # a class: it has parameters, and its methods have
    parameters = annotated.signature(execution.raw_of(target)).parameters.values()
    return all(map(_has_plain_default, parameters))


def _has_plain_default(parameter: inspect.Parameter) -> bool:
    name = _PLAIN.get(type(parameter.default))
    said = parameter.annotation
    return name is not None and (said in (_EMPTY, name) or said is type(parameter.default))
