"""Snapshots: find or fetch CRIU; name, store, verify and explain. Knows no gRPC and no Redis."""
