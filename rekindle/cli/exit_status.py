"""What commands end with besides 0, 1 (an error) and 2 (wrong usage)."""

from __future__ import annotations

#: What a shell expects of a program that was interrupted.
INTERRUPTED = 130
