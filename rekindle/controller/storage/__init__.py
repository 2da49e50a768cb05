"""Redis: the connection, the server of an instance, and all that is kept there.

The rest of the controller sees plain data (records.py); no other package sends a command.
"""
