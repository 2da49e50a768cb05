"""URLs of stores and servers as messages, logs and files of ours have them: without a password."""

from __future__ import annotations

import re

#: As far as the last @ before a slash: whoever does not quote an @ in it should not see it shown.
_USER_AND_PASSWORD = re.compile(r"((?:://|^[A-Za-z][\w+.-]*:)[^/@:\s]*):[^/\s]*@")
_ARGUMENT = re.compile(r"([?&]password=)[^&#\s]*")


def without_password(url: str) -> str:
    """A URL, or a text with some, with *** for passwords; what has none is as it was."""
    return _ARGUMENT.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1:***@", url))


def reason(error: BaseException) -> str:
    """What an error says, which may quote a URL; its type where it says nothing."""
    return without_password(str(error)) or type(error).__name__
