"""The agent: rekindle's process on a node. It composes templates, snapshots and runners.

The only part that knows forkserver, snapshot and the wire at once. From the bottom up, each knows
only what is before it: ``inputs``, ``runners``, ``starts``, ``pools``, ``leases``, ``scheduling``,
which alone acts, and node.py, which puts all of it together. ``session`` speaks to the controller.
Begin with pools/pool.py and scheduling/scheduler.py.
"""
