"""What crosses a process boundary: one contract for each pair of processes.

``rekindle.proto`` between programs, controller and agents; ``frames`` and ``page`` between an agent
and its runners; the direct calls between a program and a runner; ``spec``, ``phases`` and pickles
for all of them. Knows no process that uses it: what a template loads of it is the standard library.
Begin with ``phases`` and ``spec``.
"""
