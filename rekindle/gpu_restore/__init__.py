"""GPUs: what there is, and bringing a runner back onto one. Knows no gRPC and no Redis."""
