"""The thin control plane: gRPC API, durable queue and state on Redis, placement.

Never imports user code and never unpickles user data: no cloudpickle and nothing of the SDK is
imported in this room. All that it must survive losing is in Redis.
"""
