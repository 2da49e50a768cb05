"""System calls and files of /proc for which Python 3.11 has no function; the leaf of the package.

One module for each subject: ``namespaces``, ``mounts``, ``capabilities``, ``processes``,
``memory``, ``maps``, ``descriptors``, ``files``; and ``programs``, which runs others. Every other
package may import them, and they import nothing of rekindle. Standard library only, as templates
and the spawner load them. Each function has one named purpose, raises OSError, and does not know
what it is used for.
"""
