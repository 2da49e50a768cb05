"""Volumes: named folders that outlive runners, and what may be done in them.

``registry.py`` knows which there are, ``tree.py`` works inside one and never leaves it,
``remote.py`` keeps one the same as a folder of a store (fsspec). Nothing here knows of functions,
runners or the controller. Standard library only; fsspec is loaded where a volume needs it.
"""
