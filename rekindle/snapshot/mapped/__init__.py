"""Mapped snapshots: images rewritten so that an unmodified CRIU maps memory instead of copying it.

After a dump, private memory (heap, large allocations, the written pages of libraries) becomes
private mappings of CRIU's own page file. Pages then come from the page cache when they are touched,
and stay shared by all runners of the node until they are written. Knows image files, and what
libraries they name carry: no processes, no store, no CRIU. Begin with ``rewrite``, then ``plan``.
"""
