"""Why a secret is not there while a module is imported for a snapshot, said where it is missed."""

from __future__ import annotations

from collections.abc import Sequence

from rekindle.wire.serialization import safe_repr


def explain(error: BaseException, withheld: Sequence[str]) -> None:
    """Add a note to an error that names a variable of a secret which was not given yet."""
    text = " ".join(arg if isinstance(arg, str) else safe_repr(arg) for arg in error.args)
    missed = [name for name in withheld if name in text]
    if missed:
        error.add_note(
            f"{', '.join(missed)}: of a secret, and secrets are not in the environment while a "
            f"function with enable_memory_snapshot=True is imported and set up, as all that is "
            f"read then is in the snapshot. Read it in the function or in an @rekindle.enter() "
            f"hook, or say Secret.from_dict(..., in_snapshot=True)"
        )
