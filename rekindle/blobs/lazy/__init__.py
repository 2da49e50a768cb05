"""Files that can be read before they have arrived.

``client.py`` starts a process (``server.py``) that shows blobs as files by FUSE: a touched range is
fetched from the store (``fetcher.py``), with read-ahead that widens for sequential readers
(``streams.py``), and kept in a sparse local file. Where FUSE cannot be used (``libfuse.py`` says
why), whole files are fetched instead, by ``transfer.py`` above.
"""
