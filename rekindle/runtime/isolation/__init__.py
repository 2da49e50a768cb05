"""Sandboxes: namespaces, and the two kinds of small processes that make and hold them.

``spawner`` forks, as the agent cannot; ``init`` is PID 1 of one set of namespaces;
``spawner_client`` and ``sandbox`` are the agent's sides of them; ``privilege`` is how a user who is
not root comes to namespaces. Knows nothing of CRIU, of gRPC or of what a job is for. Begin with
``sandbox``.
"""
