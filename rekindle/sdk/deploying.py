"""``app.deploy()`` and what else there is to do with apps that stay: look up, stop, roll back."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk import checks, environments, lookups, notes, running
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client, client_for
from rekindle.sdk.declaration import AppState, DeployedHere
from rekindle.sdk.interrupted_deploy import have_made
from rekindle.sdk.local import served_names, staying
from rekindle.sdk.program import main_module, registration
from rekindle.sdk.run import check_may_run
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.callid import new_app_id
from rekindle.wire.environment import DEFAULT_ENVIRONMENT, in_environment, split_name

if TYPE_CHECKING:
    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")

STRATEGIES = ("rolling", "recreate")


@dataclass(frozen=True)
class Deployed:
    """What a deployment came to."""

    name: str
    app_id: str
    version: int
    #: Whether nothing was done, as the present version has the same content.
    unchanged: bool
    functions: tuple[str, ...] = ()
    environment: str = DEFAULT_ENVIRONMENT
    #: What could not be made sure of before the version was switched to.
    notes: tuple[str, ...] = ()


def deploy(
    app: AppState,
    name: str | None,
    tag: str | None = None,
    strategy: str = "rolling",
    environment: str | None = None,
    *,
    serves: bool = False,
) -> Deployed:
    """Make what the app declares its next version. ``serves``: for the command that serves it.

    Raises InvalidError for what cannot be deployed, SerializationError for code that cannot travel,
    ConnectionError where no instance comes up.
    """
    check_may_run(app, "app.deploy()")
    began = time.monotonic()
    if strategy not in STRATEGIES:
        near = checks.nearest(strategy, STRATEGIES)
        raise InvalidError(f"strategy={strategy!r} must be 'rolling' or 'recreate'{near}")
    check_tag(tag)
    name = app.name if name is None else name  # an empty one is refused as any other wrong one
    if name is None:
        raise nameless()
    checks.app_name(name)
    script = main_module.current()
    name = environments.app_in(environment, name)
    if not serves and (process := served_names.holder(staying.place(), name)) is not None:
        raise InvalidError(
            f"the app {name!r} is served by the `rekindle serve` of process {process}, which would "
            f"deploy over this, and stop it when it ends: end that one first, or deploy under "
            f"another name (`rekindle deploy --name NAME`, app.deploy(name=...))"
        )
    instance = functools.cache(lambda: staying.begin().wait())
    # Calls of what was deployed before are those of the present version.
    former = app.deployed.declared if app.deployed is not None else None
    declared = frozenset((*app.declarations.values(), *(former or ())))
    request = registration.request_for(app, name, new_app_id(), script, instance)
    request.ephemeral = False
    client = client_for(instance())
    background().run(client.hello())
    wanted = pb.DeployRequest(app=request, tag=tag or "", strategy=strategy)
    reply = have_made(client, "Deploy", wanted, request.app_id, name)
    lookups.forget_all()  # the next call is of the new version, without asking for the former one
    app.deployed = DeployedHere(name, client, reply.app.app_id, declared)
    made = result_of(reply)
    if running.shows_output():
        for note in (*made.notes, said_of(made, time.monotonic() - began)):
            notes.write_note(note)
    return made


def said_of(made: Deployed, took_s: float) -> str:
    """What a deployment came to, for people."""
    what = f"{in_environment(made.environment, made.name)}, version {made.version}"
    if made.unchanged:
        return f"Nothing has changed: {what} stays."
    return f"Deployed {what} in {took_s:.2f} s: {', '.join(made.functions) or 'no functions'}."


def check_tag(tag: str | None) -> None:
    """Raise InvalidError for a tag without a word. The empty one is Modal's default: none."""
    if tag and not tag.strip():
        raise InvalidError(f"tag={tag!r}: a tag has a word at least, or leave it out")


def nameless() -> InvalidError:
    """The error of who deploys or serves an app without a name: one that is made of its file would
    take the place of another's app of that name."""
    return InvalidError(
        "the app has no name, by which it is called and its next version replaces it: write "
        "rekindle.App('name'), or give one with --name NAME (in a program, app.deploy(name='name'))"
    )


def result_of(reply: pb.DeployReply) -> Deployed:
    """A reply as a value."""
    functions = reply.app.versions[0].functions if reply.app.versions else ()
    environment, name = split_name(reply.app.name)
    return Deployed(
        *(name, reply.app.app_id, reply.app.version, reply.unchanged, tuple(functions)),
        environment=environment,
        notes=tuple(reply.notes),
    )


def look_up(name: str, *, create_if_missing: bool) -> tuple[DeployedHere, dict[str, str]]:
    """A deployed app by the name that its instance has for it, and its tags.

    Raises NotFoundError where there is none, or it is stopped.
    """
    client = client_for(staying.begin().wait()) if create_if_missing else running.client_of()
    background().run(client.hello())
    try:
        request = pb.DeployedAppsRequest(app=name)
        found = ask(client, "DeployedApps", request, pb.DeployedAppsReply).apps[0]
        if not found.stopped:
            return DeployedHere(found.name, client, found.app_id), dict(found.tags)
        if not create_if_missing:
            raise NotFoundError(f"the app {name!r} is stopped; deploy it again")
    except NotFoundError:
        if not create_if_missing:
            raise
    empty = pb.RegisterAppRequest(app_id=new_app_id(), name=name)
    made = ask(client, "Deploy", pb.DeployRequest(app=empty), pb.DeployReply)
    return DeployedHere(name, client, made.app.app_id), {}


def stop(app: AppState) -> None:
    """End a deployed app. Raises InvalidError for one that was neither deployed nor looked up."""
    here = app.deployed
    if here is None:
        raise InvalidError(
            f"app {app.name!r} was not deployed here: rekindle.App.lookup({app.name!r}).stop() "
            f"ends the one of that name; what `with app.run():` runs ends with its block"
        )
    ask(here.client, "StopApp", pb.StopAppRequest(app=here.name), pb.DeployedApp)
    app.deployed = None


def set_tags(here: DeployedHere, tags: dict[str, str]) -> None:
    """Have the deployed app have these. Raises NotFoundError."""
    ask(here.client, "SetTags", pb.SetTagsRequest(app=here.name, tags=tags), pb.DeployedApp)


def ask(client: Client, method: str, request: Message, reply: type[M]) -> M:
    """A request of the contract, and its reply."""
    return background().run(client.request(method, request, reply))
