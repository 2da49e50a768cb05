"""Dict and Queue: what programs and runners share by name.

Begin with ``handle.py``. A runner loads the standard library for it, and no event loop: ``link.py``
speaks to the controller over a plain socket, ``aio_link.py`` is loaded by the first ``.aio``.
"""
