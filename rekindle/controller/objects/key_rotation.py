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
        """Raises SetupError, and ServiceError for what none of the present keys opens."""
        await asyncio.to_thread(self._vault.add_key)
        count = await self._secrets.seal_again()
        known = set(self._state.functions)
        for app_id in self._kept_apps():
            known.update(await self._registry.function_ids(app_id))
        count += await self._registry.seal_again(known)
        return pb.RotateSecretKeyReply(key_file=str(self._vault.key_file), sealed_again=count)
