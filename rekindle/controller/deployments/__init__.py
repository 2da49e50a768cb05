"""Apps that stay: their versions, which of them is called, and how a former one ends.

``deployments`` makes a version the present one, one change of a name at a time (``turns``), once it
has started (``first_start``); ``retirement`` ends former ones; ``contents`` is kept for a rollback.
``deployment_book`` has what is deployed; ``function_finder`` answers who asks for a function by
name. Knows nothing of how inputs are queued. Begin with ``deployments``.
"""
