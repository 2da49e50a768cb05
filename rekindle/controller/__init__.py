"""The thin control plane: gRPC API, durable queue and state on Redis, placement, sizes of pools.

Begin with wiring.py (all parts, and what each event leads to), then state.py (the records),
queue/table.py and queue/intake.py. service.py is the API for clients, nodes/gateway.py for agents.

Never imports user code and never unpickles user data: neither cloudpickle nor the SDK is imported
here. All that a controller must survive losing is in Redis (storage/).
"""
