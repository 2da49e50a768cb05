"""Content-addressed bytes: a store of blobs, and files that can be read before they have arrived.

``store.py`` keeps blobs behind one interface (``objects.py``: a folder, or any URL of fsspec);
``transfer.py`` puts and gets whole files, ``collect.py`` removes what nothing names. ``lazy/`` is a
process that serves a blob as a file whose ranges are fetched when they are touched; ``layers.py``
makes a directory one file, and mounts it. Nothing here knows what the bytes are for: snapshots and
images are put together with it by the agent.
"""
