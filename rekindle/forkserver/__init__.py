"""The template: a process that loaded what it needs, parked, and forks on request.

Begin with ``template``, its loop. ``inspection`` decides whether copies can be made, by the table
in ``kinds``; ``open_things`` gives each copy its own of what is open. Loads the standard library
only, and no thread. Knows nothing of user code, of CRIU, gRPC or agents.
"""
