"""The order for a step's sandbox: what it runs in, what is shown to it, what it is told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rekindle import paths
from rekindle.exception import Error, ImageError
from rekindle.runtime.images import builds_left, reach, sandbox, tools
from rekindle.runtime.images.inside import RUN
from rekindle.runtime.images.layer import Settings
from rekindle.runtime.images.reach import Bind
from rekindle.runtime.images.sandbox import TIMED_OUT, Say
from rekindle.runtime.images.store import ROOT, Draft, LayerStore
from rekindle.shown_url import without_password
from rekindle.volumes.registry import Registry
from rekindle.wire import image_variables
from rekindle.wire.images import CALL_FILE, FUNCTION_FILE, MODULES, SOURCE_FILE, UV, Step, StepKind
from rekindle.wire.volumes import VolumeMount

#: Kept from build to build: what pip and uv downloaded.
_CACHES = {"pip": "PIP_CACHE_DIR", "uv": "UV_CACHE_DIR", "conda": "CONDA_PKGS_DIRS"}
#: What apt needs while it runs, and nobody afterwards.
_OF_APT = ("/var/lib/apt/lists", "/var/cache/apt")
_PACKAGES = f"{RUN}/packages"
#: Both end with it: decorators may hide that a function is no plain one.
_RUN = """
made = type(function(*args, **kwargs)).__name__
if made in ("generator", "coroutine", "async_generator"):
    sys.exit("it returned a " + made + ", of which nothing ran; give a function that runs it")
"""
#: What to do about a module that is missing, after the traceback that says which.
_EXPLAIN = f"""
import os, sys, traceback, zipfile
def explain(kind, error, trace):
    traceback.print_exception(kind, error, trace)
    if not issubclass(kind, ModuleNotFoundError) or not error.name:
        return
    top = error.name.partition(".")[0]
    copied = "add_local_python_source(" + repr(top) + ", copy=True) before this step"
    local = []
    if os.path.exists({SOURCE_FILE!r}):
        with zipfile.ZipFile({SOURCE_FILE!r}) as modules:
            local = [name.partition("/")[0] for name in modules.namelist()]
    if top in local or top + ".py" in local:
        said = top + " is a module of the program, which the image lacks: " + copied
    else:
        said = "the image lacks " + top + ": install it in a step before; a local module: " + copied
    sys.stderr.write(said + "\\n")
sys.excepthook = explain
"""
#: Calls a function that was pickled with its arguments, by the cloudpickle that pickled it.
_CALL = f"""
{_EXPLAIN}
import pickle
sys.path.insert(0, {_PACKAGES!r})
with open(sys.argv[1], "rb") as file:
    function, args, kwargs = pickle.load(file)
{_RUN}"""
#: The same for another Python than the program's: imported by name from the program's modules.
_CALL_BY_NAME = f"""
import importlib, operator, pickle, sys, traceback
sys.path[:0] = [{SOURCE_FILE!r}, {_PACKAGES!r}]
from rekindle.execution import context
from rekindle.wire.serialization import deserialize
context.set_remote()
with open({CALL_FILE!r}, "rb") as file:
    module, name, values = pickle.load(file)
try:
    function = operator.attrgetter(name)(importlib.import_module(module))
except ImportError as error:
    traceback.print_exc()
    sys.exit(
        "the program has Python " + sys.argv[1] + ", so " + name + " is imported here, and "
        + str(error) + ". Install that in a step before, or import it in the function or under "
        "`with image.imports():`"
    )
args, kwargs = deserialize(values, "the arguments of " + name)
{_RUN}"""
_OLDEST_BY_NAME = (3, 11)


class StepFailedError(Error):
    """A command of a step ended with an error, or not in time."""


@dataclass(frozen=True)
class Surroundings:
    """What a step finds: the layers below it, by name, the topmost first; and what it is given."""

    store: LayerStore
    lowers: list[str]
    #: Those of them that are one file each: that, and where it is mounted.
    packed: list[tuple[str, str]]
    settings: Settings
    secrets: dict[str, str]
    #: Copies of local files, and where they go or are shown.
    files: list[tuple[str, str]]
    python_version: str


def run(step: Step, draft: Draft, around: Surroundings, say: Say) -> dict[str, str]:
    """Run a step in the draft's root; its Python's path and version afterwards.

    Raises StepFailedError, ImageError, OSError.
    """
    given = reach.of_node(draft.scratch) if step.kind is StepKind.RUN else reach.Reach()
    env = {"PATH": image_variables.PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
    env |= given.env | around.settings.env
    env["PATH"] = f"{env['PATH']}:{RUN}/tools:{RUN}/bin"
    env |= {
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",  # the image is nobody else's system
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "UV_SYSTEM_PYTHON": "1",
        "UV_BREAK_SYSTEM_PACKAGES": "1",
        "UV_LINK_MODE": "copy",
        "PYTHONUNBUFFERED": "1",
    }
    binds = [*given.binds, *_shown(step, draft, around, say, env)]
    env |= step.env | around.secrets
    if step.kind in (StepKind.RUN, StepKind.CALL):  # local modules are there, as in a runner
        env["PYTHONPATH"] = ":".join(filter(None, (MODULES, env.get("PYTHONPATH", ""))))
    store = around.store.root
    lowers = [f"layers/{name}/{ROOT}" for name in around.lowers]
    if lowers:
        lowers.append(_mount_points(draft, binds, store))
    merged = draft.scratch / "merged"
    merged.mkdir()
    order = {
        "store": str(store),
        "lowers": lowers,
        "packed": around.packed,
        "upper": str(draft.root.relative_to(store)),
        "work": str(draft.work.relative_to(store)),
        "merged": str(merged.relative_to(store)),
        "binds": binds if lowers else [],
        "copies": [],
        "env": env,
        "workdir": around.settings.workdir,
        "shell": list(around.settings.shell),
        "commands": list(step.commands),
    }
    if step.kind is StepKind.COPY:
        sources = [f"{RUN}/files/{at}" for at in range(len(around.files))]
        targets = [target for _, target in around.files]
        into = step.arguments.get("into", "")
        order["copies"] = [(*one, into) for one in zip(sources, targets, strict=True)]
    if step.kind is StepKind.CALL:
        order["argv"] = _call(step, around.python_version)
    status, found = sandbox.run(order, say, step.timeout_s)
    if status == TIMED_OUT:
        raise StepFailedError(f"did not end within {step.timeout_s:g} s")
    if status != 0:
        raise StepFailedError(f"failed with exit status {status}")
    return {name: found.get(name, "") for name in ("python", "python_version")}


def _shown(
    step: Step, draft: Draft, around: Surroundings, say: Say, env: dict[str, str]
) -> list[Bind]:
    """What is shown to a step, and is in no layer. Adds to its variables."""
    binds: list[Bind] = []
    store = around.store.root
    if step.kind is StepKind.COPY:
        return [(source, f"{RUN}/files/{at}", True) for at, (source, _) in enumerate(around.files)]
    if not around.lowers:
        return []
    binds += [(source, target, True) for source, target in around.files]
    for path in ("/tmp", *_OF_APT):
        place = draft.scratch / path.strip("/").replace("/", "-")
        place.mkdir(exist_ok=True)
        place.chmod(0o1777 if path == "/tmp" else 0o755)
        binds.append((str(place), path, False))
    for name, variable in _CACHES.items():
        place = store / builds_left.DOWNLOADS / name
        place.mkdir(parents=True, exist_ok=True)
        binds.append((str(place), f"{RUN}/cache/{name}", False))
        env[variable] = f"{RUN}/cache/{name}"
    for name in step.tools:
        program = tools.find(name, store, say)
        binds.append((str(program), f"{RUN}/tools/{tools.command_of(name)}", True))
    if UV in map(tools.command_of, step.tools):
        kept = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", "~/.local/share/uv/python"))
        if kept.expanduser().is_dir():
            binds.append((str(kept.expanduser()), f"{RUN}/pythons", True))
    if step.kind is StepKind.CALL:
        import cloudpickle

        for place in (paths.PACKAGE, Path(cloudpickle.__file__).parent):
            binds.append((str(place), f"{_PACKAGES}/{place.name}", True))
    for mount in step.volumes:
        binds.append((str(_volume(mount)), mount.path, mount.read_only))
    return binds


def _volume(mount: VolumeMount) -> Path:
    """The folder of a volume on this machine. Raises NotFoundError, ImageError."""
    if not mount.name:
        raise ImageError(
            f"a step of an image cannot have {without_password(mount.label)}; give it a "
            f"rekindle.Volume, or fetch what it needs with a command"
        )
    place = Registry.default().find(mount.name, mount.environment).files
    return place / mount.sub_path if mount.sub_path else place


def _mount_points(draft: Draft, binds: list[Bind], store: Path) -> str:
    """A layer below all others that has what is mounted on, so that it is in no other."""
    skeleton = draft.scratch / "mount-points"
    for name in ("dev", "proc", "sys", "run"):
        (skeleton / name).mkdir(parents=True)
    for source, target, _ in binds:
        place = skeleton / target.strip("/")
        if target.startswith("/run/"):
            continue  # a tmpfs is there
        place.parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_dir():
            place.mkdir(exist_ok=True)
        else:
            place.touch()
    return str(skeleton.relative_to(store))


def _call(step: Step, version: str) -> list[str]:
    """What the image's Python is to run. Raises ImageError where the function cannot be there."""
    pickled = step.arguments.get("python", "")
    if pickled == version:
        return ["-c", _CALL, FUNCTION_FILE]
    if tuple(int(one) for one in version.split(".") if one) < _OLDEST_BY_NAME:
        raise ImageError(
            f"{step.title}: the image has Python {version or 'none'}, and functions need 3.11 or "
            f"newer there: install one in a step before, or write the step as run_commands"
        )
    if all(one.target != CALL_FILE for one in step.files):
        raise ImageError(
            f"{step.title}: the function's code is that of Python {pickled}, and the image has "
            f"{version}; code travels between equal versions only, and no import finds this "
            f"function: write it at the top level of a module of the program, or run the program "
            f"by Python {version}"
        )
    return ["-c", _CALL_BY_NAME, pickled]
