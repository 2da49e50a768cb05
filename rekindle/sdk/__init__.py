"""What a user's program imports; ``rekindle`` re-exports it.

``app``, ``function``, ``cls``, ``images``: what is declared. ``program``: how its code travels.
``calls``: from arguments to results. ``objects``: Dict and Queue. ``terminal``: ``run -i``.
``connection``: one client for an instance, loaded by the first remote call.
``local``: an instance on this machine. Knows nothing of controller and agents but the contract.
Begin with ``function``.
"""
