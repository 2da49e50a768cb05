"""The connection of a program to a controller: one background thread, one client an instance.

Begin with ``background``, then ``client``. Knows nothing of pickles, user code and declarations.
"""
