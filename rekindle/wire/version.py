"""Versions: of the package, and of the protocol that client, controller and agent speak."""

__version__ = "0.1.0"

#: Raised when a peer of the former number would misunderstand a message.
PROTOCOL = 10
