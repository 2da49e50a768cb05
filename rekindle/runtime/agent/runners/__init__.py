"""Runners as their agent sees them: a process, its channel, its output; and who may connect.

Knows nothing of pools. Begin with runner.py.
"""
