"""What a user's program imports (re-exported by ``rekindle``), and the command line.

Modules that a template reaches by ``import rekindle`` and its decorators import the standard
library only; the client, and with it gRPC and asyncio, is loaded by the first remote call.
"""
