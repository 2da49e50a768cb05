"""What a client says to an agent of its own machine, to be lent runners of an app.

Controller and agent make it of the instance's token, each for itself: no state that a restart could
lose, and who has one may ask for runners of that app and of no other. Standard library only.
"""

from __future__ import annotations

import hashlib
import hmac


def node_token(instance_token: str, app_id: str) -> str:
    """The token of an app."""
    return hmac.new(instance_token.encode(), f"lend:{app_id}".encode(), hashlib.sha256).hexdigest()
