"""The agent: rekindle's process on a node. It composes templates, snapshots and runners.

The only room that knows forkserver, snapshot and the wire at once.
"""
