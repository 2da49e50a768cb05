"""Mapped snapshots: images rewritten so that an unmodified CRIU maps memory instead of copying it.

After a dump, large private anonymous areas become private mappings of CRIU's own page file. Pages
then come from the page cache when they are touched, and stay shared by all runners of the node
until they are written. Knows image files only: no processes, no store, no CRIU.
"""
