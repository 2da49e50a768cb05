"""Names that users of such SDKs look for and that are still to come, or have another name here.

Each says what to use meanwhile. Standard library only.
"""

from __future__ import annotations

#: Attributes of the package: what to do in their place.
NAMES = {
    "asgi_app": "serve HTTP from your own program and call .remote.aio() in its handlers",
    "wsgi_app": "serve HTTP from your own program and call .remote() in its handlers",
    "web_server": "serve HTTP from your own program and call .remote() in its handlers",
    "web_endpoint": "serve HTTP from your own program and call .remote() in its handlers",
    "fastapi_endpoint": "serve HTTP from your own program and call .remote.aio() in its handlers",
}

#: What was renamed, or goes another way: attribute -> what to write.
INSTEAD = {
    "Stub": "rekindle.App",
    "Mount": "image.add_local_dir(...) or image.add_local_file(...) (local modules are sent by "
    "themselves)",
    "NetworkFileSystem": "rekindle.Volume",
    "SharedVolume": "rekindle.Volume",
    "Sandbox": "subprocess inside a function",
    "build": "rekindle.enter(snap=True) with @app.cls(enable_memory_snapshot=True)",
    "Client": "$REKINDLE_DIR, the instance that a program talks to",
    "Server": "rekindle.concurrent on a class that your own HTTP server calls",
    "SandboxSnapshot": "@app.cls(enable_memory_snapshot=True)",
    "Probe": "@rekindle.enter(): a runner is ready when its hooks have run",
    "sessioned": "rekindle.parameter(): each distinct value has runners of its own",
    "clustered": "f.map() or f.spawn(): inputs run side by side, each by itself",
    "Cluster": "f.map() or f.spawn(): inputs run side by side, each by itself",
    "app": "rekindle.App",
    "call_graph": "FunctionCall.get_call_graph(), whose items have a status",
    "client": "$REKINDLE_DIR, the instance that a program talks to",
    "cloud_bucket_mount": "rekindle.CloudBucketMount",
    "cls": "rekindle.Cls",
    "config": "variables of the environment: REKINDLE_DIR, REKINDLE_ENVIRONMENT and their like",
    "container_process": "subprocess inside a function",
    "dict": "rekindle.Dict",
    "environments": "rekindle.Environment",
    "file_io": "open(), at the path of a rekindle.Volume",
    "file_pattern_matcher": "rekindle.FilePatternMatcher",
    "functions": "rekindle.Function and rekindle.FunctionCall",
    "image": "rekindle.Image",
    "io_streams": "subprocess inside a function",
    "mount": "image.add_local_dir(...) or image.add_local_file(...)",
    "network_file_system": "rekindle.Volume",
    "object": "rekindle.Dict, rekindle.Queue and their like: they have no base in common",
    "output": "rekindle.enable_output",
    "partial_function": "rekindle.method, rekindle.enter and their like",
    "queue": "rekindle.Queue",
    "retries": "rekindle.Retries",
    "runner": "app.run() and app.deploy()",
    "sandbox": "subprocess inside a function",
    "schedule": "rekindle.Cron and rekindle.Period",
    "schedules": "rekindle.Cron and rekindle.Period",
    "secret": "rekindle.Secret",
    "stream_type": "subprocess inside a function",
    "volume": "rekindle.Volume, rekindle.FileEntry and rekindle.FileEntryType",
}

#: Classes of GPUs, which were in ``rekindle.gpu``'s likeness: what a string has in their place.
GPUS = {
    **{name: name for name in ("T4", "L4", "A10G", "A100", "L40S", "H100", "H200", "B200")},
    "Any": "any",
}

#: What there will not be, and why.
ABSENT = {
    "Proxy": "a runner has the network of its node",
    "Tunnel": "a runner has the network of its node",
    "forward": "a runner has the network of its node",
    "SchedulerPlacement": "functions run on the nodes of this instance",
    "Workspace": "an instance belongs to the user that runs it",
    "types": "results are rekindle.FileEntry, and classes of the modules that give them "
    "(rekindle.sdk.stats, say)",
    "billing": "there is nothing to pay; `rekindle top` shows what runs",
    "experimental": "what is there is not experimental (in place of stop_fetching_inputs() is "
    "single_use_containers=True)",
}

#: Attributes of objects: class -> attribute -> what to use.
MEMBERS = {
    "App": {
        "server": "@app.cls() with rekindle.concurrent, called by your own HTTP server",
        "stub": "app itself",
        "registered_functions": "app.registered",
        "registered_classes": "app.registered",
        "registered_entrypoints": "app.entrypoints",
        "description": "app.name",
        "get_dashboard_url": "`rekindle top` and `rekindle app info`",
        "info": "`rekindle app info`",
        "stats": "`rekindle status` and `rekindle top`",
        "logs": "`rekindle logs`",
        "sandboxes": "subprocess inside a function",
        "is_inside": "`with image.imports():`, or rekindle.is_local()",
    },
    "Cls": {"lookup": "rekindle.Cls.from_name(app, name)"},
    "Dict": {
        "lookup": "rekindle.Dict.from_name(name)",
        "new": "rekindle.Dict.ephemeral()",
        "persisted": "rekindle.Dict.from_name(name, create_if_missing=True)",
        "delete": "rekindle.Dict.objects.delete(name)",
    },
    "Queue": {
        "lookup": "rekindle.Queue.from_name(name)",
        "new": "rekindle.Queue.ephemeral()",
        "persisted": "rekindle.Queue.from_name(name, create_if_missing=True)",
        "delete": "rekindle.Queue.objects.delete(name)",
    },
    "Secret": {
        "lookup": "rekindle.Secret.from_name(name)",
        "create_deployed": "rekindle.Secret.objects.create(name, {...})",
        "delete": "rekindle.Secret.objects.delete(name)",
        "ephemeral": "rekindle.Secret.from_dict({...})",
        "hydrate": "secret.info(), which raises NotFoundError",
        "object_id": "secret.info().object_id",
    },
    "Volume": {
        "lookup": "rekindle.Volume.from_name(name)",
        "persisted": "rekindle.Volume.from_name(name, create_if_missing=True)",
        "new": "rekindle.Volume.ephemeral()",
        "create_deployed": "rekindle.Volume.objects.create(name)",
        "delete": "rekindle.Volume.objects.delete(name)",
        "hydrate": "volume.info(), which raises NotFoundError",
        "object_id": "volume.info().object_id",
    },
    "Function": {
        "lookup": "rekindle.Function.from_name(app, name)",
        "call": "f.remote(...)",
        "keep_warm": "f.autoscaler.update(min_containers=...)",
        "get_raw_f": "f.undecorated",
        "info": "`rekindle status`",
        "stats": "f.get_current_stats() or `rekindle top`",
        "logs": "`rekindle logs`",
        "metrics": "`rekindle metrics`",
        "get_dashboard_url": "`rekindle top`",
        "get_web_url": "your own HTTP server, which calls f.remote.aio(...)",
        "web_url": "your own HTTP server, which calls f.remote.aio(...)",
    },
    "Image": {
        "build": "`rekindle image build FILE`; running the app builds it, too",
        "pip_install_private_repos": "image.pip_install(..., secrets=[...]) with a git+https URL",
        "poetry_install_from_file": "`poetry export`, and image.pip_install_from_requirements(...)",
        "copy_local_file": "image.add_local_file(..., copy=True)",
        "copy_local_dir": "image.add_local_dir(..., copy=True)",
        "copy_mount": "image.add_local_dir(..., copy=True)",
        "publish": "the same declaration: layers have the name of what they are made of",
        "object_id": "`rekindle image list`",
        "hydrate": "`rekindle image build FILE`; running the app builds it, too",
        "from_id": "the same declaration: layers have the name of what they are made of",
        "from_name": "the same declaration: layers have the name of what they are made of",
        "from_scratch": "Image.debian_slim() or Image.from_registry(...)",
        "from_dockerhub": "Image.from_registry(...)",
        "conda": "Image.micromamba(...)",
        "conda_install": "image.micromamba_install(...)",
        "extend": "image.dockerfile_commands(...)",
        "from_aws_ecr": "Image.from_registry(...)",
        "from_gcp_artifact_registry": "Image.from_registry(...)",
    },
    "FunctionCall": {
        "get_gen": "f.remote_gen(...)",
        "logs": "`rekindle logs`",
        "get_dashboard_url": "`rekindle inputs show`",
    },
}

#: Commands: what to do in their place.
COMMANDS = {
    "function": "`rekindle status` and `rekindle pool ls` show functions",
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
    "interactive": "`rekindle run -i`, or app.run(interactive=True)",
}

_UNKNOWN = (
    *(
        "_experimental_restrict_output",
        "proxy",
        "cloud",
        "region",
        "routing_region",
        "nonpreemptible",
    ),
    *("scheduler_placement", "i6pn", "restrict_modal_access"),
)
#: Keywords that are not here: what to do.
KEYWORDS = dict.fromkeys(_UNKNOWN, "leave it out") | {
    "network_file_systems": "use rekindle.Volume",
    "ephemeral_disk": "use the tempfile module",
    "block_network": "use the node's firewall: a runner has the network of its node",
}
_LOGIN = "log in where the image is built, by `docker login` or `skopeo login`, and leave it out"
_OUTPUT = "what runs is shown within `with rekindle.enable_output():`, leave it out"
#: The same of one class, or one method, alone.
_KEYWORDS_OF = {
    "Image.from_registry": {"secret": _LOGIN},
    "Image.from_dockerfile": {"registry_secret": _LOGIN},
    "App.run": {"show_progress": _OUTPUT, "stdout": _OUTPUT},
    "App.deploy": {"show_progress": _OUTPUT},
    "Image": {
        "gpu": "images are built without a GPU: leave it out (gpu= of the function is another)",
        "cpu": "a build has what its node has: leave it out",
        "memory": "a build has what its node has: leave it out",
    },
}


def keyword(where: str, name: str) -> str | None:
    """What to do of a keyword that ``where``, ``Image.pip_install`` say, does not have; None of
    one that means nothing."""
    where = where.removesuffix("()")
    for of in (where, where.partition(".")[0]):
        if text := _KEYWORDS_OF.get(of, {}).get(name):
            return text
    return KEYWORDS.get(name)


def attribute(name: str) -> str | None:
    """What to say of ``rekindle.<name>``; None for a name that means nothing."""
    if name in INSTEAD:
        return f"there is no rekindle.{name}: use {INSTEAD[name]}"
    if name in ABSENT:
        return f"there is no rekindle.{name}: {ABSENT[name]}; leave it out"
    if name in NAMES:
        return f"rekindle.{name} is not there yet; meanwhile: {NAMES[name]}"
    return None


def gpu(name: str) -> str | None:
    """What to say of ``rekindle.gpu.<name>``; None for a name that means nothing."""
    if name not in GPUS:
        return None
    kind = GPUS[name]
    return (
        f'there is no rekindle.gpu.{name}: use gpu="{kind}", two of them are gpu="{kind}:2" '
        f'(of a size: gpu="A100-80GB")'
    )


def member(kind: str, name: str) -> str | None:
    """What to say of an attribute of an App, a Function, a Dict ...; None for any other."""
    use = MEMBERS.get(kind, {}).get(name)
    return f"a rekindle.{kind} has no {name!r}: use {use}" if use else None
