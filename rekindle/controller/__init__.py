"""The thin control plane: gRPC API, durable queue and state on Redis, placement, pools.

``service`` and ``nodes`` are its two APIs, ``queue`` takes an input from acceptance to result,
``pools`` and ``policies`` say how many runners there should be, ``storage`` is Redis. Never imports
user code and never unpickles user data. All that it must survive losing is in Redis. Begin with
``wiring`` (all parts, and what each event leads to), then ``state``, then ``queue``.
"""
