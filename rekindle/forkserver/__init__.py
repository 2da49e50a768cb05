"""The template: a process that loaded what it needs, parked, and forks on request.

Knows nothing of gRPC, Redis or CRIU, and loads the standard library only: every module that is
loaded here is time and memory that each user pays, and every thread breaks ``fork``.
"""
