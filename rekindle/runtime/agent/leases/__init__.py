"""Runners that clients call directly, past the controller.

``local_clients`` takes up clients at the agent's socket, ``requests`` are those that wait for a
runner; ``leases`` lends runners, ``recalls`` says which are taken back, and for whom, and
``lease_monitor`` looks after what is lent. Starts no runner: pools do. Begin with ``leases``.
"""
