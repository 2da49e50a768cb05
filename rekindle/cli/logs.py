"""``rekindle logs``: what an app's runners printed, kept or live."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import datetime

import click

from rekindle.cli import operator
from rekindle.cli.options import app_named, environment_option
from rekindle.exception import InvalidError
from rekindle.sdk.logs import when
from rekindle.sdk.notes import painted
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.lines import each
from rekindle.wire.whole_numbers import MOST

_DEFAULT_TAIL = 100
_MAX_TAIL = 20_000
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
#: What leaves lines out.
_FILTERS = ("since_ns", "until_ns", "function", "call_id", "runner_id", "streams", "search")
_COLOURS = {"stdout": "", "stderr": "31", "system": "33"}


@click.command()
@environment_option
@click.argument("app", metavar="APP")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the app closes.")
@click.option(
    "-n",
    "--tail",
    type=click.IntRange(1, _MAX_TAIL),
    help=f"Only the last N lines; {_DEFAULT_TAIL} unless --since is given.",
)
@click.option("--since", metavar="AGE", help="Only lines since: 90s, 30min, 2h, 3d, or a time.")
@click.option("--until", metavar="AGE", help="Only lines before that: an age or a time, too.")
@click.option("--function", default="", metavar="NAME", help="Only lines of this function.")
@click.option("--call", "call_id", default="", metavar="fc-...", help="Only lines of this call.")
@click.option(
    "--runner", "runner_id", default="", metavar="ru-...", help="Only lines of this runner."
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=click.Choice(["stdout", "stderr", "system"]),
    help="Only lines from there; may be given several times.",
)
@click.option("--search", default="", metavar="TEXT", help="Only lines with this text.")
@click.option("--timestamps", is_flag=True, help="Show when each line was written.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each line.")
def logs(
    app: str,
    follow: bool,
    tail: int | None,
    since: str | None,
    until: str | None,
    function: str,
    call_id: str,
    runner_id: str,
    sources: tuple[str, ...],
    search: str,
    timestamps: bool,
    as_json: bool,
) -> None:
    """Show what APP printed. APP is the name or id of an app, open or closed.

    Of several runs of one app, the one that is open, else the last one. Logs of closed apps are
    kept for as long as results are (7 days). Ctrl-C ends --follow with status 130.

    \b
    rekindle logs embed -f
    rekindle logs embed --since 2h --until 1h --source stderr --search error
    rekindle logs embed --call fc-... --timestamps
    """
    if follow and until:
        raise click.UsageError("--follow goes on with what comes, --until ends before: give one")
    if runner_id and not runner_id.startswith("ru-"):
        raise InvalidError(f"--runner {runner_id!r}: runners are called ru-...")
    request = pb.LogsRequest(
        app=app_named(app),
        follow=follow,
        tail=tail or (0 if since else _DEFAULT_TAIL),
        since_ns=moment("--since", since) if since else 0,
        until_ns=moment("--until", until) if until else 0,
        function=function.removeprefix(f"{app}."),
        call_id=call_id,
        runner_id=runner_id,
        streams=sources,
        search=search,
    )
    printer = _Printer(timestamps, as_json)
    client = operator.connect()

    async def show() -> None:
        async for line in client.logs(request):
            for one in each(line) if timestamps or as_json else (line,):
                printer.show(one)

    operator.ask(show())
    if not printer.shown:
        only = " with what is asked for" if any(getattr(request, one) for one in _FILTERS) else ""
        click.echo(f"{app} has no kept lines{only}.", err=True)


def moment(option: str, text: str) -> int:
    """From an age (``2h``) or a time; nanoseconds. Raises InvalidError."""
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        seconds = time.time() - float(age[1]) * _UNITS[age[2]]
        return int(max(0.0, seconds) * 1e9)
    try:
        return min(int(datetime.fromisoformat(text).timestamp() * 1e9), MOST)
    except ValueError:
        raise InvalidError(
            f"{option} {text!r} is neither an age (90s, 30min, 2h, 3d) nor a time "
            f"(2026-01-31T12:00:00)"
        ) from None


class _Printer:
    def __init__(self, timestamps: bool, as_json: bool) -> None:
        self._timestamps = timestamps
        self._as_json = as_json
        self._partial = ""  # the runner whose line has no end yet
        self.shown = False

    def show(self, line: pb.LogLine) -> None:
        """Write a line, whole or not, or several."""
        if line.stream == "mark":  # for the program whose direct call it is of
            return
        self.shown = True
        if self._as_json:
            text = json.dumps(_fields(line), ensure_ascii=sys.stdout.encoding != "utf-8") + "\n"
        else:
            text = self._text(line)
        sys.stdout.write(text)
        sys.stdout.flush()

    def _text(self, line: pb.LogLine) -> str:
        """Parts of a line follow each other as they were written, unless another one came."""
        where = f"{line.runner_id} {line.stream}"
        goes_on = self._partial == where
        lead = "\n" if self._partial and not goes_on else ""
        self._partial = where if line.partial else ""
        text = line.text
        if self._timestamps and not goes_on:
            text = f"{when(line.at_ns)} {text}"
        colour = _COLOURS.get(line.stream, "")
        if colour:
            text = painted(text, colour, sys.stdout)
        return lead + text + ("" if line.partial else "\n")


def _fields(line: pb.LogLine) -> dict[str, object]:
    return {
        "time": when(line.at_ns),
        "seq": line.seq,
        "app_id": line.app_id,
        "function": line.function,
        "runner_id": line.runner_id,
        "call_id": line.call_id,
        "source": line.stream,
        "text": line.text,
        **({"partial": True} if line.partial else {}),
    }
