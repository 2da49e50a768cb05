"""``rekindle app``: what is deployed and what programs run; versions, and the end of both."""

from __future__ import annotations

from typing import Any

import click

from rekindle.cli import operator, tables
from rekindle.cli.commands import CommandGroup
from rekindle.cli.logs import logs
from rekindle.cli.options import app_named, confirm, environment_option, is_chosen, yes_option
from rekindle.counted import counted
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk import deploying
from rekindle.sdk.environments import environment_of
from rekindle.sdk.interrupted_deploy import have_made
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import whole_numbers
from rekindle.wire.callid import new_app_id
from rekindle.wire.environment import split_name
from rekindle.wire.messages import as_dict

#: What the messages of the contract can carry (int32).
_MOST_VERSIONS = (1 << 31) - 1
#: They have half a minute.
_EXIT_HOOKS_S = 60.0


@click.group(cls=CommandGroup)
def app() -> None:
    """Look at apps; stop and delete them, roll deployed ones back."""


def _known(wanted: str) -> list[pb.DeployedApp]:
    """The deployed app of a name or id, alone. Raises NotFoundError, and InvalidError for no
    name."""
    request = pb.DeployedAppsRequest(app=app_named(wanted))
    client = operator.connect()
    return list(operator.request(client, "DeployedApps", request, pb.DeployedAppsReply).apps)


def _find(wanted: str) -> pb.DeployedApp | pb.AppStatus:
    """The deployed app of a name or id, else the one that a program runs, or ran detached.

    Raises NotFoundError; InvalidError where several programs run one of the name.
    """
    try:
        return _known(wanted)[0]
    except NotFoundError as error:
        status = operator.report(operator.connect(), pools=False)
        running = [one for one in status.apps if not one.version]
        named = app_named(wanted)  # an id stays one
        found = [one for one in running if named in (one.app_id, one.name)]
        if not found and running:
            names = sorted({repr(one.name) for one in running})
            end = "" if str(error).endswith("?") else ";"
            raise NotFoundError(f"{error}{end} programs run {', '.join(names)}") from None
        if not found:
            raise
    if len(found) > 1:
        ids = ", ".join(one.app_id for one in found)
        raise InvalidError(
            f"{len(found)} programs run an app {wanted!r}; name one by its id: {ids}"
        )
    return found[0]


@app.command("list")
@environment_option
@tables.json_option
def list_(as_json: bool) -> None:
    """Show the apps of an environment: deployed ones, and those of programs that run."""
    client = operator.connect()
    deployed = operator.request(
        client, "DeployedApps", pb.DeployedAppsRequest(), pb.DeployedAppsReply
    ).apps
    status = operator.report(client, pools=False)
    open_now = {one.app_id: one for one in status.apps}
    rows: list[dict[str, Any]] = [_row(one, open_now) for one in deployed if is_chosen(one.name)]
    rows += [
        {
            **_named(one.name),
            "app_id": one.app_id,
            "state": _state(one),
            "version": None,
            "tag": "",
            "deployed": None,
            "functions": len(one.functions),
            "undone": sum(function.undone for function in one.functions),
        }
        for one in status.apps
        if not one.version and is_chosen(one.name)
    ]
    if as_json:
        tables.print_json(rows)
        return
    if not rows:
        where = environment_of(None)
        click.echo(f"No app is deployed in {where}. `rekindle deploy FILE` has one stay.")
        return
    table = tables.table(
        "App", "State", ">Version", "Tag", "Deployed", ">Functions", ">Undone", "Id"
    )
    for row in rows:
        table.add_row(
            row["name"],
            row["state"],
            str(row["version"] or "-"),
            row["tag"] or "-",
            tables.ago(row["deployed"]) if row["deployed"] else "-",
            str(row["functions"]),
            str(row["undone"]),
            row["app_id"] or "-",
        )
    tables.console().print(table)


def _state(one: pb.AppStatus) -> str:
    """Of an app that is not deployed."""
    return "closing" if one.closing else "ephemeral"


def _named(known_as: str) -> dict[str, str]:
    environment, name = split_name(known_as)
    return {"name": name, "environment": environment}


def _row(one: pb.DeployedApp, open_now: dict[str, pb.AppStatus]) -> dict[str, Any]:
    newest, now = one.versions[0], open_now.get(one.app_id)
    return {
        **_named(one.name),
        "app_id": one.app_id,
        "state": "stopped" if one.stopped else "deployed",
        "version": one.version,
        "tag": newest.tag,
        "deployed": one.at,
        "functions": len(newest.functions),
        "undone": sum(function.undone for function in now.functions) if now is not None else 0,
    }


@app.command()
@environment_option
@click.argument("name")
@tables.json_option
def info(name: str, as_json: bool) -> None:
    """Show an app, by its name or id: its version, its functions, how many inputs they have."""
    found = _find(name)
    if isinstance(found, pb.AppStatus):
        functions = _functions(found)
        value: dict[str, Any] = {"app_id": found.app_id, "state": _state(found)}
        rows = [("State", _state(found)), ("Id", found.app_id)]
    else:
        status = operator.report(operator.connect(), pools=False)
        of_it = [one for one in status.apps if one.app_id == found.app_id]
        functions = [function for one in of_it for function in _functions(one)]
        value = {**as_dict(found), "tag": found.versions[0].tag}
        del value["versions"]
        rows = _rows(found)
    if as_json:
        tables.print_json({**value, **_named(found.name), "functions": functions})
        return
    environment, own_name = split_name(found.name)
    rows = [("Name", own_name), ("Environment", environment), *rows]
    rows += [("Function", f"{one['name']} ({one['undone']} undone)") for one in functions]
    tables.console().print(tables.listing(rows))


def _functions(one: pb.AppStatus) -> list[dict[str, Any]]:
    return [
        {"name": of.name, "function_id": of.function_id, "undone": of.undone}
        for of in one.functions
    ]


def _rows(found: pb.DeployedApp) -> list[tuple[str, str]]:
    return [
        ("State", "stopped" if found.stopped else "deployed"),
        ("Version", str(found.version)),
        ("Deployed", tables.ago(found.at)),
        ("Tag", found.versions[0].tag or "-"),
        ("Id", found.app_id or "-"),
        ("Tags", ", ".join(f"{key}={value}" for key, value in sorted(found.tags.items())) or "-"),
        ("Ending", counted(len(found.draining), "former version") if found.draining else "-"),
    ]


@app.command()
@environment_option
@click.argument("name")
@tables.json_option
def history(name: str, as_json: bool) -> None:
    """Show the versions of a deployed app, the newest first."""
    found = _known(name)[0]
    if as_json:
        tables.print_json([as_dict(one) for one in found.versions])
        return
    table = tables.table(">Version", "Deployed", "Tag", "Strategy", "Functions", "")
    for one in found.versions:
        notes = []
        if one.version == found.version:
            notes.append("stopped" if found.stopped else "present")
        if one.rolled_back_to:
            notes.append(f"content of {one.rolled_back_to}")
        if one.app_id in found.draining:
            notes.append("ends what it has")
        if not one.kept:
            notes.append("not kept")
        functions = ", ".join(one.functions)
        table.add_row(
            str(one.version),
            tables.ago(one.at),
            one.tag or "-",
            one.strategy,
            functions,
            "; ".join(notes),
        )
    tables.console().print(table)


@app.command()
@environment_option
@click.argument("name")
@yes_option
def stop(name: str, yes: bool) -> None:
    """End an app, by its name or id: what is queued and runs is cancelled.

    The versions of a deployed one stay. One that a program runs, or ran detached, is gone.
    """
    found = _find(name)
    if isinstance(found, pb.AppStatus):
        confirm(f"Stop {found.name} ({found.app_id}), which is not deployed?", yes=yes)
        request = pb.CloseAppRequest(app_id=found.app_id)
        operator.request(
            *(operator.connect(), "CloseApp", request, pb.CloseAppReply, _EXIT_HOOKS_S)
        )
        click.echo(f"Stopped {found.name} ({found.app_id}).")
        return
    if found.stopped:
        click.echo(f"{found.name} is stopped already.")
        return
    confirm(f"Stop {found.name}, version {found.version}?", yes=yes)
    stopping = pb.StopAppRequest(app=found.name)
    operator.request(operator.connect(), "StopApp", stopping, pb.DeployedApp, _EXIT_HOOKS_S)
    click.echo(
        f"Stopped {found.name}. `rekindle app rollback {found.name}` has it back, "
        f"`rekindle app delete {found.name}` removes it."
    )


@app.command()
@environment_option
@click.argument("name")
@yes_option
def delete(name: str, yes: bool) -> None:
    """Remove a stopped app for good, by its name or id: nothing of it can be had back.

    That is its versions, schedules, dead letters and log lines, and what was recorded of it.
    Results of its calls stay for their time.
    """
    found = _find(name)
    if isinstance(found, pb.AppStatus):
        raise InvalidError(
            f"{found.name} ({found.app_id}) is not deployed: it goes with its program, or with "
            f"`rekindle app stop {found.app_id}`"
        )
    if not found.stopped:
        raise InvalidError(
            f"{found.name} is deployed (version {found.version}) and can be called: "
            f"`rekindle app stop {found.name}` ends it, then it can be deleted"
        )
    confirm(f"Delete {found.name} with its {counted(len(found.versions), 'version')}?", yes=yes)
    request = pb.DeleteAppRequest(app=found.name)
    gone = operator.request(
        *(operator.connect(), "DeleteApp", request, pb.DeletedApp, _EXIT_HOOKS_S)
    )
    went = [
        counted(count, of)
        for count, of in (
            (gone.versions, "version"),
            (gone.schedules, "schedule"),
            (gone.dead_letters, "dead letter"),
        )
        if count
    ]
    click.echo(f"Deleted {gone.name}: {', '.join(went)}.")


_strategy = click.option(
    "--strategy",
    type=click.Choice(deploying.STRATEGIES),
    default="rolling",
    show_default=True,
    help="What becomes of what runs: it ends by the old code, or runs again by the new.",
)


@app.command()
@environment_option
@click.argument("name")
@click.argument("version", required=False)
@_strategy
def rollback(name: str, version: str | None, strategy: str) -> None:
    """Make the content of an older VERSION (7 or v7) the next version.

    Without VERSION: of the one before the present one; of an app that is stopped, of its last one.
    """
    number = 0  # the one before
    if version is not None:
        number = whole_numbers.parsed(version.removeprefix("v")) or 0
        if not 0 < number <= _MOST_VERSIONS:
            raise click.BadParameter(
                f"{version!r} is no number of a version; `rekindle app history`"
            )
    _again(pb.RollbackRequest(app=app_named(name), version=number, strategy=strategy))


@app.command()
@environment_option
@click.argument("name")
@_strategy
def rollover(name: str, strategy: str) -> None:
    """Replace all runners of a deployed app: its present version again, as the next one."""
    _again(pb.RollbackRequest(app=app_named(name), strategy=strategy, same=True))


def _again(request: pb.RollbackRequest) -> None:
    request.app_id = new_app_id()
    client = operator.connect()
    reply = have_made(client, "Rollback", request, request.app_id, request.app, 60.0)
    for note in reply.notes:
        click.echo(note)
    content = reply.app.versions[0].rolled_back_to
    click.echo(f"{reply.app.name} is version {reply.app.version} now: the content of {content}.")


app.add_command(logs)
