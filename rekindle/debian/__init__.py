"""Debian packages in a private prefix, by the machine's own apt: verified, unpacked, not installed.

Knows nothing of what the packages are for.
"""
