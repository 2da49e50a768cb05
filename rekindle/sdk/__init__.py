"""What a user's program imports; ``rekindle`` re-exports it.

``app``, ``function``, ``cls``: what is declared. ``program``: how its code travels. ``calls``: from
arguments to results. ``connection``: one client for an instance, loaded by the first remote call.
``local``: an instance on this machine. Knows nothing of controller and agents but the contract.
Begin with ``function``.
"""
