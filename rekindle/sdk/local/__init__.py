"""An instance on this machine: the supervisor that keeps it up, and sessions that use one.

``supervisor`` starts Redis, the controller and the agent (``services``), and starts again what
dies; ``daemon`` keeps one for ``rekindle up``; ``directory`` is where it lies. Knows the other
processes by their command lines alone. Begin with ``session``.
"""
