"""Names of the keys in Redis.

Everything that one script touches carries the function's id in braces, so that a Redis Cluster
keeps it in one slot. Those of Dict and Queue: wire/object_keys.py.
"""

from __future__ import annotations

#: The consumer group of every queue.
GROUP = "rk"
#: Set: functions ("app.function") whose arrivals are recorded.
RECORDED = "rk:recorded"
#: Hash: environment and name of a secret -> its record, values sealed (objects/named_secrets.py).
SECRETS = "rk:secrets"


def protocol(instance: str) -> str:
    """Integer: the newest protocol of a controller that wrote what the instance keeps."""
    return f"rk:protocol:{instance}"


def apps(instance: str) -> str:
    """Set: ids of the apps that are open at an instance."""
    return f"rk:apps:{instance}"


def agents(instance: str) -> str:
    """Hash: agents that were connected to an instance, with host, pid and kind of connection."""
    return f"rk:agents:{instance}"


def app(app_id: str) -> str:
    """Hash: name, state and functions of an app."""
    return f"rk:app:{app_id}"


def deployments(instance: str) -> str:
    """Hash: name -> a deployed app with its versions (deployments/records.py), as JSON."""
    return f"rk:deployments:{instance}"


def environments(instance: str) -> str:
    """Hash: environment -> when it was made, as JSON; others are there by what lies in them."""
    return f"rk:environments:{instance}"


def set_aside(of: str) -> str:
    """What could not be read. Of an instance, hash: id -> a damaged record, and what keys begin
    with that were damaged (damage.py); of a key of measurements, that one.
    """
    return f"rk:set-aside:{of}"


def schedules(instance: str) -> str:
    """Hash: "app/function" -> when it ran last, and what it runs now, as JSON."""
    return f"rk:schedules:{instance}"


def source(app_id: str, digest: str) -> str:
    """String: a source bundle of an app."""
    return f"rk:source:{app_id}:{digest}"


def function(function_id: str) -> str:
    """Hash: definition of a function, with code and secrets."""
    return f"rk:function:{{{function_id}}}"


def queue(function_id: str) -> str:
    """Stream: inputs of a function that are not done."""
    return f"rk:q:{{{function_id}}}"


def backlog(function_id: str) -> str:
    """Integer: entries of the queue that no controller has taken from it yet."""
    return f"rk:backlog:{{{function_id}}}"


def undone(function_id: str) -> str:
    """Integer: accepted inputs of a function that are not done."""
    return f"rk:undone:{{{function_id}}}"


def changes(function_id: str) -> str:
    """Integer: how often ``undone`` changed: of two replies with it, which one is newer."""
    return f"rk:changes:{{{function_id}}}"


def calls(function_id: str) -> str:
    """What the keys of a function's calls begin with."""
    return f"rk:call:{{{function_id}}}:"


def call(function_id: str, call_id: str) -> str:
    """Hash: a call and its undone inputs (fields in lua/accept.lua)."""
    return calls(function_id) + call_id


def results(function_id: str, call_id: str) -> str:
    """Hash: index -> Result message of a call; o<number> -> indexes of a batch of results."""
    return f"rk:results:{{{function_id}}}:{call_id}"


def of_inputs(function_id: str, call_id: str) -> list[str]:
    """What lua/accept.lua and lua/complete.lua begin their keys with, in this order."""
    per_call = [call(function_id, call_id), results(function_id, call_id)]
    counters = [backlog(function_id), undone(function_id), changes(function_id)]
    return [queue(function_id), *per_call, *counters]


def once(function_id: str) -> str:
    """Set: calls of a function whose results go once they were taken, or with their app."""
    return f"rk:once:{{{function_id}}}"


def nested(call_id: str) -> str:
    """Hash: call and index -> NestedCall message, of calls that the inputs of a call made."""
    return f"rk:nested:{call_id}"


def kept(instance: str) -> str:
    """Sorted set: calls of an instance that are done and kept, by when they are forgotten."""
    return f"rk:kept:{instance}"


def dead(function_id: str) -> str:
    """Stream: inputs of a function that were given up."""
    return f"rk:dead:{{{function_id}}}"


def dead_index(instance: str) -> str:
    """Set: functions of an instance that have, or had, dead letters."""
    return f"rk:dead-of:{instance}"


def call_index(call_id: str) -> str:
    """String: function id, app name and function name of a submitted call, by lines."""
    return f"rk:function-of:{call_id}"


def closed_apps(instance: str) -> str:
    """Hash: app id -> name and time, of closed apps whose log is kept."""
    return f"rk:closed:{instance}"


def logs(app_id: str) -> str:
    """Stream: log lines of an app; the entry id is ``<seq>-<lines>``."""
    return f"rk:logs:{app_id}"


def arrivals(label: str, digest: str) -> str:
    """Hash: when inputs of a pool arrived (arrivals.py); named by app and function."""
    return f"rk:arrivals:{{{label}}}:{digest}"


def arrivals_of(label: str) -> str:
    """Sorted set: digests of the parameters of a function's pools that have a record, by when they
    were added to last."""
    return f"rk:arrivals-index:{{{label}}}"


def former_arrivals_of(label: str) -> str:
    """Set: the same, as it was before there was an order in it."""
    return f"rk:arrivals-of:{{{label}}}"


def costs(label: str) -> str:
    """String: what starts of a function took, and what it holds at each level (costs.py)."""
    return f"rk:costs:{{{label}}}"


def pool(function_id: str) -> str:
    """Hash: digest of parameters, or ``*``, -> settings changed since (pool_settings.py)."""
    return f"rk:pool:{{{function_id}}}"


def objects(instance: str) -> str:
    """Hash: id of a Dict or Queue -> JSON: kind, name, environment, when it was made."""
    return f"rk:objects:{instance}"


def objects_going(instance: str) -> str:
    """Set: ids of Dicts and Queues that were deleted, and whose values may be there yet."""
    return f"rk:objects-going:{instance}"
