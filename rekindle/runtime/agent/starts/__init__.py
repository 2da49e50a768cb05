"""How a runner comes to be: boot, fork, restore, and the snapshots and templates they need.

Knows nothing of pools and inputs. Begin with ladder.py.
"""
