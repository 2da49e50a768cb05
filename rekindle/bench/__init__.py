"""The harness: the same call by each strategy, compared phase by phase; tables and plots.

Knows nothing of the SDK, gRPC or Redis: what it measures is handed in as a ``Target``.
"""
