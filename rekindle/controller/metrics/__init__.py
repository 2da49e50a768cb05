"""What is counted and measured of an instance, for Prometheus, ``rekindle status`` and ``top``.

Nothing here decides anything: the other packages report what happened, in one call for each
message, and never wait. prometheus_client is loaded when someone asks for the text, not before.
"""
