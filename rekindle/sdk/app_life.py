"""What is done with an app as a whole: its tags, and having it run or stay.

Knows nothing of what is declared in it. Standard library only, until it is run or deployed.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Self

from rekindle.sdk import checks, environments
from rekindle.sdk.declaration import AppState
from rekindle.sdk.dual import Dual, in_thread, own_block, shown
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.sdk.deploying import Deployed
    from rekindle.sdk.run import AppRun


@trims
class AppLife(AppState):
    """Mixed into App."""

    @property
    def app_id(self) -> str | None:
        """The id of the running or deployed app (``ap-...``); None while it is neither."""
        if self.running is not None:
            return self.running.app_id
        return self.deployed.app_id if self.deployed is not None else None

    @property
    def set_tags(self) -> Dual[[dict[str, str]], None, Awaitable[None]]:
        """``set_tags(tags)``: these in place of its tags.

        Of an app that was deployed or looked up here: now; of others when they are deployed.
        Raises InvalidError.
        """

        def blocking(tags: dict[str, str], *, client: None = None) -> None:
            checks.of_this_instance("app.set_tags", client=client)
            checked = checks.tags(tags)
            if self.deployed is not None:
                from rekindle.sdk import deploying

                deploying.set_tags(self.deployed, checked)
            self.tags = checked

        return in_thread(blocking)

    @property
    def get_tags(self) -> Dual[[], dict[str, str], Awaitable[dict[str, str]]]:
        """``get_tags()``: its tags; of an app that was looked up, those that it had then."""

        def blocking(*, client: None = None) -> dict[str, str]:
            checks.of_this_instance("app.get_tags", client=client)
            return dict(self.tags)

        return in_thread(blocking)

    @property
    def deploy(self) -> Dual[..., Deployed, Awaitable[Deployed]]:
        """``deploy(*, name=None, environment_name=None, tag=None, strategy="rolling")``.

        Have it stay, as its next version. ``name``: in place of its own; one of them is needed.

        It runs on the instance of ``rekindle up`` (or ``$REKINDLE_DIR``), which is brought up where
        it is not. All calls go to the new version at once; the same content again is no new
        version. ``strategy``: "rolling" waits for its first start, and lets the runners of the
        former one end what they have; "recreate" stops them, and what they had runs again by the
        new code. To interrupt it, or to cancel ``deploy.aio``, gives it up where it is not live
        yet; a note of the exception says what came of it. ``tag``: up to 50 characters that the
        history shows, none where it is empty; an empty ``name`` is refused. ``environment_name``:
        the name space that it lies in; without, that of this process. Raises InvalidError,
        StartError, SerializationError, ConnectionError.
        """

        def blocking(
            *,
            name: str | None = None,
            tag: str | None = None,
            strategy: str = "rolling",
            environment_name: str | None = None,
            client: None = None,
        ) -> Deployed:
            from rekindle.sdk import deploying

            checks.of_this_instance("app.deploy", client=client)
            return deploying.deploy(self, name, tag, strategy, environment_name)

        def aio(*args: Any, **kwargs: Any) -> Awaitable[Deployed]:
            from rekindle.sdk import interrupted_deploy

            work = interrupted_deploy.in_thread(blocking, args, kwargs)
            return shown(work, blocking, args, kwargs)

        return Dual(blocking, aio)

    @property
    def stop(self) -> Dual[[], None, Awaitable[None]]:
        """``stop()``: end the deployed app; what is queued and runs is cancelled.

        Raises InvalidError where it was neither deployed nor looked up here.
        """

        def blocking() -> None:
            from rekindle.sdk import deploying

            deploying.stop(self)

        return in_thread(blocking)

    @own_block
    def run(
        self,
        *,
        name: str | None = None,
        detach: bool = False,
        interactive: bool = False,
        environment_name: str | None = None,
        client: None = None,
    ) -> AppRun[Self]:
        """Run the app while a ``with`` (or ``async with``) block lasts; the app, as its target.

        ``detach``: what was spawned goes on when the block or the program ends; the app ends after
        the last of it. It runs on the instance of ``rekindle up``, which is brought up if need be.
        ``interactive``: runners may have this program's terminal (``rekindle.interact()``).
        Uses the instance of ``$REKINDLE_DIR`` or of ``rekindle up``, or one that stays for a while
        after its last program (where ``CI`` is set, a private one that ends with the block).
        ``environment_name``: as of ``deploy``. Raises InvalidError when the app runs already, or
        while the module is being imported; SerializationError when code cannot travel;
        ConnectionError when no instance comes up.
        """
        from rekindle.sdk.run import AppRun

        checks.of_this_instance("app.run", client=client)
        if name is not None:
            checks.app_name(name)
        where = environments.environment_of(environment_name)
        return AppRun(self, name, where, detach=detach, interactive=interactive)
