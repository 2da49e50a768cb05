"""A group of commands: ``list`` and ``ls`` are one, and a wrong name has the nearest one beside it.

The groups of the command line are of this class; ``rekindle`` itself is group.py's.
"""

from __future__ import annotations

import click

from rekindle.sdk.checks import nearest

_SAME = {"list": "ls", "ls": "list"}


class CommandGroup(click.Group):
    """A group that has both names of its list, whichever it was given."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or of its other name."""
        found = super().get_command(ctx, cmd_name)
        other = _SAME.get(cmd_name)
        return found if found or other is None else super().get_command(ctx, other)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words name. Raises UsageError for an unknown one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = [one for one in self.list_commands(ctx) if not self.commands[one].hidden]
            near = nearest(args[0], known) or f"; there are: {', '.join(known)}"
            ctx.fail(f"{ctx.command_path} has no command {args[0]!r}{near}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its commands for the help page."""
        shown = []
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if command.hidden:
                continue
            other = _SAME.get(name)
            both = other is not None and other not in self.commands
            shown.append((f"{name}, {other}" if both else name, command.get_short_help_str(120)))
        with formatter.section("Commands"):
            formatter.write_dl(shown)
