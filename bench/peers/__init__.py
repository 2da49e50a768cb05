"""The systems that rekindle is compared with: one file for each, each run in a process of its own.

Those files run in an environment of their own (environment.py) and import nothing of rekindle; what
both sides need is in ``served`` and ``work`` and takes the standard library alone.
"""
