"""``rekindle`` and its commands, as click sees them.

A command is loaded when it is used, so help is quick.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from rekindle.cli import interrupts
from rekindle.cli.exit_status import INTERRUPTED
from rekindle.sdk.unsupported import COMMANDS
from rekindle.wire.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Group -> name -> (module, what it does).
_GROUPS = {
    "Programs and apps": {
        "run": ("run", "Run a function or entrypoint of a file."),
        "serve": ("serve", "Run an app of a file, and again whenever a file of it is saved."),
        "deploy": ("deploy", "Have an app of a file stay, as its next version."),
        "app": ("app", "Look at deployed apps; stop them, roll them back."),
        "schedule": ("schedule", "See when functions of deployed apps run; run one now."),
        "logs": ("logs", "Show what an app printed, or follow it."),
        "inputs": ("inputs", "Look at inputs that wait, cancel calls, replay dead letters."),
        "shell": ("shell", "Open a shell where a function runs."),
    },
    "Objects": {
        "dict": ("objects", "Look at Dicts, and change what is in them."),
        "queue": ("objects", "Look at Queues, and change what is in them."),
        "secret": ("secret", "Keep secrets by name: list, create, delete, rotate the key."),
        "volume": ("volume", "Keep folders by name: list, ls, get, put, and others."),
        "environment": ("environment", "Name spaces of apps and objects: list, create, delete."),
    },
    "The instance": {
        "up": ("up", "Keep an instance up: Redis, controller and agent."),
        "down": ("up", "End what `rekindle up` keeps, and what stayed after a program."),
        "backup": ("backup", "Copy what an instance keeps, while it is up, too."),
        "status": ("status", "Show apps, queues and agents of an instance."),
        "damaged": ("damaged", "Look at records that cannot be read; set them aside."),
        "top": ("top", "Watch functions, runners and starts, live."),
        "container": ("container", "Look at runners, and into them."),
        "pool": ("pool", "Look at pools; set their sizes and policies."),
        "snapshot": ("snapshot", "List, inspect and remove snapshots."),
        "blob": ("blob", "Look at the store that nodes share snapshots and layers through."),
        "image": ("image", "Build images; list, inspect and remove their layers."),
        "metrics": ("status", "Print the metrics for Prometheus."),
    },
    "This machine": {
        "setup": ("setup", "Get what rekindle needs (CRIU, libfuse) onto this machine."),
        "doctor": ("doctor", "Say what this machine can do, and what to do where it cannot."),
        "completion": (
            "completion",
            "Print a script that lets your shell complete rekindle's commands.",
        ),
    },
    "Measure": {
        "tune": ("tune", "Replay arrivals through the sizing policies; recommend a setting."),
        "bench": ("bench", "Compare the strategies of a call, phase by phase."),
    },
}
_COMMANDS = {name: known for group in _GROUPS.values() for name, known in group.items()}


class _PastClick(Exception):
    """An error past click, which ends with 1 for any BrokenPipeError, and takes any EOFError for a
    Ctrl-C (its own, at the end of standard input, are none by then): who ran the command judges it.
    """

    def __init__(self, error: BrokenPipeError | EOFError) -> None:
        super().__init__(str(error))
        self.error = error


class _Lazy(click.Group):
    """A group whose commands are imported by name."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As of any group; here is shown what help and the version are."""
        try:
            return super().make_context(*args, **kwargs)
        except (BrokenPipeError, EOFError) as error:
            raise _PastClick(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """As of any group."""
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, EOFError) as error:
            raise _PastClick(error) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"rekindle.cli.{_COMMANDS[cmd_name][0]}")
        name = f"{cmd_name}_" if cmd_name == "dict" else cmd_name  # no name hides dict
        command: click.Command = getattr(module, name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from rekindle.sdk.checks import nearest

            if args[0] in COMMANDS:
                ctx.fail(f"`rekindle {args[0]}` is not there yet; meanwhile: {COMMANDS[args[0]]}")
            near = nearest(args[0], _COMMANDS)
            if not near and (args[0].endswith(".py") or "::" in args[0]):
                near = f"; to run a file: rekindle run {args[0]}"
            ctx.fail(f"no command {args[0]!r}{near}")
        found = super().resolve_command(ctx, args)
        interrupts.begun()
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, _COMMANDS))
        for title, group in _GROUPS.items():
            with formatter.section(title):
                rows = [(name.ljust(widest), text) for name, (_, text) in group.items()]
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands without loading them: a key was pressed, and somebody waits."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=text)
            for name, (_, text) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rekindle", message="%(prog)s %(version)s")
def cli() -> None:
    """Run Python functions in isolated processes that start in milliseconds."""


def run(argv: Sequence[str]) -> int:
    """Run the command line ``argv``; the exit status."""
    return shown(lambda: cli.main(args=list(argv), prog_name="rekindle", standalone_mode=False))


#: How click says that something is no number.
_NUMBER = re.compile(r"is not a valid (integer|float)(?: range)?\.")


def _no_number(found: re.Match[str]) -> str:
    return "is no whole number." if found[1] == "integer" else "is no number."


def shown(work: Callable[[], Any]) -> int:
    """The exit status of something of click's; what is wrong with how it was used is shown."""
    try:
        value = work()
    except click.ClickException as error:
        vars(error)["message"] = _NUMBER.sub(_no_number, error.message)
        with contextlib.suppress(OSError):  # nobody reads it: the exit status says that it is one
            error.show()
        return error.exit_code
    except click.Abort as abort:
        interrupts.tell(abort.__cause__)
        return INTERRUPTED
    except _PastClick as past:
        raise past.error from None
    return value if isinstance(value, int) else 0
