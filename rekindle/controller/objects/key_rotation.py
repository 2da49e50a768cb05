"""A new key for all that is sealed: named secrets, and those that open apps declare with values.

First the new key is added to the file, then everything of this instance is sealed again. The former
keys stay in the file, as others may have sealed with them: instances with the same file and another
Redis, and controllers that share this one. Broken off anywhere, it can be done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rekindle.controller.objects.named_secrets import NamedSecrets
from rekindle.controller.objects.vault import Vault
from rekindle.controller.state import State
from rekindle.controller.storage.registry import Registry
from rekindle.exception import InternalFailure, ServiceError
from rekindle.wire import rekindle_pb2 as pb


@dataclass(eq=False)
class KeyRotation:
    """See the module."""

    _vault: Vault
    _secrets: NamedSecrets
    _registry: Registry
    _state: State
    #: Ids of deployed apps' versions, those that are put away included.
    _kept_apps: Callable[[], Iterable[str]] = tuple

    async def rotate(self) -> pb.RotateSecretKeyReply:
        """Raises SetupError, and ServiceError for what none of the present keys opens, once all
        else is sealed.
        """
        await asyncio.to_thread(self._vault.add_key)
        count, failed = 0, None
        for seal_again in (self._secrets.seal_again, self._seal_functions):
            try:
                count += await seal_again()
            except (ServiceError, InternalFailure) as error:
                failed = error
        if failed is not None:
            raise failed
        return pb.RotateSecretKeyReply(key_file=str(self._vault.key_file), sealed_again=count)

    async def _seal_functions(self) -> int:
        known, failed = set(self._state.functions), None
        for app_id in self._kept_apps():
            try:
                known.update(await self._registry.function_ids(app_id))
            except InternalFailure as error:
                failed = error
        count = await self._registry.seal_again(known)
        if failed is not None:
            raise failed
        return count
