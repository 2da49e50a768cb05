"""A gRPC channel as this program uses it."""

from __future__ import annotations

from typing import Any

import grpc.aio

_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # the controller's limit gives the clear error
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
]


def open_channel(target: str) -> Any:
    """A channel that reconnects soon; on the loop that runs."""
    return grpc.aio.insecure_channel(target, options=_OPTIONS)
