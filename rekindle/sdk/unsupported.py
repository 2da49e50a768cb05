"""Names that users of such SDKs look for and that are still to come, or have another name here.

Each says what to use meanwhile. Standard library only.
"""

from __future__ import annotations

#: Attributes of the package: what to do in their place.
NAMES = {
    "Image": "install packages into the environment that runs rekindle; runners use it",
    "NetworkFileSystem": "use rekindle.Volume",
    "Sandbox": "start a process with subprocess inside a function",
    "Proxy": "leave it out",
    "Tunnel": "leave it out",
    "forward": "leave it out",
    "asgi_app": "serve HTTP from your own program and call .remote.aio() in its handlers",
    "wsgi_app": "serve HTTP from your own program and call .remote() in its handlers",
    "web_server": "serve HTTP from your own program and call .remote() in its handlers",
    "web_endpoint": "serve HTTP from your own program and call .remote() in its handlers",
    "fastapi_endpoint": "serve HTTP from your own program and call .remote.aio() in its handlers",
    "interact": "call the function with .local() to debug it",
}

#: What was renamed, or goes another way: attribute -> what to write.
INSTEAD = {
    "Stub": "rekindle.App",
    "build": "rekindle.enter(snap=True) with @app.cls(enable_memory_snapshot=True)",
}

#: Commands: what to do in their place.
COMMANDS = {
    "function": "`rekindle status` and `rekindle pool ls` show functions",
    "image": "install packages into the environment that runs rekindle",
}

#: Older keywords of the decorators: what they are called now.
RENAMED = {
    "keep_warm": "min_containers=",
    "concurrency_limit": "max_containers=",
    "container_idle_timeout": "scaledown_window= (seconds)",
    "checkpointing_enabled": "enable_memory_snapshot=",
    "mounts": "include_source= (local modules are sent by themselves)",
    "mount": "include_source= (local modules are sent by themselves)",
    "shared_volumes": "volumes=",
    "max_inputs": "single_use_containers=True for one input a runner",
    "allow_concurrent_inputs": "@rekindle.concurrent(max_inputs=...)",
    "interactive": ".local(), to debug in this process",
}

_UNKNOWN = ("proxy", "cloud", "region", "nonpreemptible", "block_network")
#: Keywords to come: what to do meanwhile.
KEYWORDS = dict.fromkeys(_UNKNOWN, "leave it out") | {
    "image": NAMES["Image"],
    "network_file_systems": NAMES["NetworkFileSystem"],
    "ephemeral_disk": "use the tempfile module",
}


def attribute(name: str) -> str | None:
    """What to say of ``rekindle.<name>``; None for a name that means nothing."""
    if name in INSTEAD:
        return f"there is no rekindle.{name}: use {INSTEAD[name]}"
    if name in NAMES:
        return f"rekindle.{name} is not there yet; meanwhile: {NAMES[name]}"
    return None
