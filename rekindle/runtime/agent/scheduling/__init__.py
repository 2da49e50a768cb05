"""What is decided across the pools of a node: who starts, who makes room, what goes for memory.

The one place that acts on more than one pool. Begin with scheduler.py.
"""
