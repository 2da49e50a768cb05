"""What crosses a process boundary: the gRPC contract, function specs, phases, frames, pickles."""
