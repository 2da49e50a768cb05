"""The inputs on this node: an input and its state, its result, and what is not confirmed yet.

Knows nothing of runners and pools. Begin with assignment.py.
"""
