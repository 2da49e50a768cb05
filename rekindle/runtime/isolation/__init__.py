"""Namespaces and the small processes that hold them. Knows nothing of CRIU, gRPC or user code."""
