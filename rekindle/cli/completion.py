"""``rekindle completion``: what a shell reads to complete rekindle's commands, files and functions.

The script is click's; the names after ``FILE::`` are read from the file, which is not run.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from rekindle.exception import InvalidError

#: Shell -> where its user adds the line that is printed with it.
_STARTUP = {
    "bash": (".bashrc", 'eval "$(rekindle completion bash)"'),
    "zsh": (".zshrc", 'eval "$(rekindle completion zsh)"'),
    "fish": (".config/fish/config.fish", "rekindle completion fish | source"),
}


@click.command()
@click.argument("shell", type=click.Choice(list(_STARTUP)), required=False)
def completion(shell: str | None) -> None:
    """Print the script for SHELL, by default that of $SHELL.

    \b
    eval "$(rekindle completion bash)"      # in ~/.bashrc
    eval "$(rekindle completion zsh)"       # in ~/.zshrc
    rekindle completion fish | source       # in ~/.config/fish/config.fish
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in _STARTUP else None
    if kind is None:
        raise InvalidError(f"no completion for the shell {name!r}; name one: {', '.join(_STARTUP)}")
    from rekindle.cli.group import cli

    click.echo(kind(cli, {}, "rekindle", "_REKINDLE_COMPLETE").source())
    if sys.stdout.isatty():
        file, line = _STARTUP[name]
        click.echo(f"To have it in every shell, add to ~/{file}: {line}", err=True)


def reference(incomplete: str) -> list[CompletionItem]:
    """For an argument that is ``FILE::NAME``: a file, or a name in it."""
    file, colons, name = incomplete.partition("::")
    if not colons:
        return [CompletionItem(incomplete, type="file")]
    try:
        names = list(_declared(ast.parse(Path(file).read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return []
    return [CompletionItem(f"{file}::{one}") for one in names if one.startswith(name)]


def _declared(tree: ast.Module) -> Iterator[str]:
    """Names of functions, and methods of classes, that have a decorator."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
            yield node.name
        elif isinstance(node, ast.ClassDef) and node.decorator_list:
            for one in node.body:
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.decorator_list:
                    yield f"{node.name}.{one.name}"
