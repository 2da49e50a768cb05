"""Every exception that rekindle raises on its own account.

Knows nothing of the rest of the package, so that any package, a template and a runner included, can
import it. Names follow Modal's where the meaning is the same.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

E = TypeVar("E", bound=BaseException)


def of_the_program(error: E) -> E:
    """Say that an error of a type of Python's is the program's own, and no fault of ours.

    A KeyError of a Dict, say: it is shown as an Error is, by the program's frames alone.
    """
    error.__dict__["is_of_the_program"] = True
    return error


def a_or_an(kind: type | str) -> str:
    """A type, or its name, in a sentence: an int, a str."""
    name = kind if isinstance(kind, str) else kind.__name__
    last = name.rpartition(".")[2]
    you = last[:1] in "uU" and (last[1:2].isupper() or last.lower().startswith(("uni", "use")))
    return f"{'an' if last[:1] in tuple('aeiouAEIOU') and not you else 'a'} {name}"


class Error(Exception):
    """Root of rekindle's own exceptions."""


class InvalidError(Error):
    """The program asks for something that cannot be: a bad decorator argument, a wrong use."""


class MonkeyPatchedError(InvalidError):
    """gevent or eventlet has replaced the threads or sockets of this process, with which rekindle's
    calls would hang; the message says what to do."""


class UnknownNameError(InvalidError, AttributeError):
    """rekindle has no such name (yet): the message says what to use. ``hasattr`` is False."""


class NotFoundError(Error):
    """A named app, function, call or snapshot does not exist."""


class AlreadyExistsError(Error):
    """Something of that name is there already."""


class AuthError(Error):
    """The token is missing or wrong."""


class ConnectionError(Error):  # the name that users of such SDKs look for
    """No controller answers at the address."""


class VersionError(Error):
    """Client, controller or agent speak different versions of the protocol."""


class ServiceError(Error):
    """The service could not do what was asked for a reason of its own (Redis away, say)."""


class ResourceExhaustedError(Error):
    """A limit was reached; the message names it and how to raise it."""


class RequestSizeError(ResourceExhaustedError):
    """A payload is over the size limit."""


class CallDepthError(ResourceExhaustedError):
    """Calls from inside calls go deeper than allowed, or wait for more runners than there may be.

    The message names the limit and how to raise it.
    """


class ExecutionError(Error):
    """The call was used in a state in which it cannot run (app not running, say)."""


class AsyncUsageWarning(UserWarning):
    """A call that blocks was made where an event loop runs: nothing else of it goes on meanwhile.

    The message has the line to write instead.
    """


class NeverIteratedWarning(UserWarning):
    """An iterator of ``map``, ``remote_gen`` or the like was dropped unused: nothing has run."""


class DeprecationError(UserWarning):
    """For ``warnings.filterwarnings`` in programs for Modal; rekindle warns of no such thing."""


class PendingDeprecationError(UserWarning):
    """As ``DeprecationError``."""


class ServerWarning(UserWarning):
    """As ``DeprecationError``."""


class SerializationError(Error):
    """A value cannot be pickled; the message names the object and the path to it."""


class DeserializationError(Error):
    """Bytes cannot be unpickled here (missing module, other version)."""


class RemoteError(Error):
    """The function failed remotely and its exception could not be rebuilt here; or its call was
    cancelled.

    ``type_name`` is the exception's type with its module, ``message`` its text; the last cause has
    the remote traceback. Both are empty where there was no exception.
    """

    def __init__(self, text: str = "", *, type_name: str = "", message: str = "") -> None:
        super().__init__(text)
        self.type_name = type_name
        self.message = message


class RemoteExitError(RemoteError):
    """A function or hook raised what would end the program, loop or generator that it is raised in.

    SystemExit, KeyboardInterrupt, GeneratorExit, ``asyncio.CancelledError``, a group with one of
    these, and whatever else is no Exception. ``original`` is what was raised, and the cause.
    Where Python lets none through, in coroutines and iterators, StopIteration comes so, too.
    """

    original: BaseException | None

    def __init__(self, message: str, original: BaseException | None = None) -> None:
        super().__init__(message)
        self.original = original


class TimeoutError(Error):
    """Root of rekindle's own timeouts (not the builtin one)."""


class FunctionTimeoutError(TimeoutError):
    """An input ran longer than the function's ``timeout``; its runner was killed (with
    ``@concurrent``, the input is interrupted first)."""


class StartupTimeoutError(TimeoutError):
    """A runner did not become ready within ``startup_timeout``."""


class OutputExpiredError(TimeoutError):
    """The result was kept for its time and is gone."""


class InputCancellation(BaseException):
    """Raised inside a function whose input was cancelled."""


class InternalFailure(Error):
    """rekindle itself failed; the input was not at fault."""


class RunnerLostError(InternalFailure):
    """The runner died while it had the input, as often as redelivery allows."""

    #: Nothing that its own code did: it was killed, as the kernel does where memory is short, or
    #: its memory could not be read.
    from_outside = False


class StartError(Error):
    """A runner could not be started by any strategy."""


class IsolationError(StartError):
    """This user can make no namespaces on this machine; the message says why and what to do."""


class GpuUnavailableError(StartError):
    """No GPU of this node serves what the function asks for; the message says what there is."""


class StrategyUnavailableError(StartError):
    """A strategy was asked for by name and could not be taken; the message says why."""


class SnapshotError(Error):
    """Root of what can go wrong with a snapshot."""


class SnapshotCreateError(SnapshotError):
    """A template could not be frozen; the message names the cause (an open socket, say)."""


class SnapshotInvalidError(SnapshotError):
    """A snapshot does not fit or is damaged; the message names the first reason."""


class SnapshotRestoreError(SnapshotError):
    """CRIU could not bring a valid snapshot back."""


class CriuNotFoundError(SnapshotError):
    """No working CRIU on this machine; ``rekindle setup criu`` gets one."""


class GpuError(Error):
    """A GPU cannot be used as asked for; the message says why, and what to do."""


class CudaError(GpuError):
    """A call of the CUDA driver failed; ``code`` is its number (CUresult), ``call`` its name."""

    def __init__(self, message: str, call: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.call = call
        self.code = code


class VolumeError(Error):
    """Root of what can go wrong with a volume."""


class VolumePathError(VolumeError, InvalidError):
    """A path leaves its volume, or names something of another kind than is wanted."""


class VolumeFileNotFoundError(VolumeError, NotFoundError, FileNotFoundError):
    """There is no such file in the volume."""


class VolumeFileExistsError(VolumeError, AlreadyExistsError, FileExistsError):
    """There is such a file in the volume already."""


class VolumeBusyError(VolumeError, ExecutionError, RuntimeError):
    """Files of the volume are open in this process; close them first."""


class BlobError(Error):
    """Root of what can go wrong with a blob; the message names the blob and its store."""


class BlobNotFoundError(BlobError, NotFoundError):
    """The store has no such blob, or not all of it."""


class BlobDamagedError(BlobError):
    """What the store sent is not what was put there, also when it was fetched again."""


class BlobStoreError(BlobError, ServiceError):
    """The store does not do what it is asked for: it is away, refuses, or is full."""


class BlobRoomError(BlobError):
    """A blob does not fit into what lazy files may take of this machine's disk."""


class LayerError(BlobError):
    """A layer cannot be packed, mounted or unpacked here; the message says what to do."""


class ImageError(Error):
    """Root of what can go wrong with an image."""


class LayerLostError(ImageError):
    """The nodes' store has lost or damaged a part of a layer, which is built when needed next."""


class ImageBuildError(ImageError):
    """A layer could not be built: the step, the last lines that it printed, and the layer's name.

    ``layer`` is that name; ``rekindle image logs`` shows all that the step printed.
    """

    def __init__(self, message: str, layer: str = "") -> None:
        super().__init__(message)
        self.layer = layer


class SetupError(Error):
    """Set-up could not finish (no package mirror, a signature that does not verify)."""


#: Names that programs for Modal catch, where ours is another one for the same.
_SAME = {"PermissionDeniedError": AuthError, "InternalError": InternalFailure}
#: Those for what is never raised here: what to catch in their place.
_NEVER = {
    "ConflictError": "InvalidError or ExecutionError",
    "DataLossError": "InternalFailure",
    "UnimplementedError": "InvalidError",
    "LogsFetchError": "ServiceError",
    "ClientClosed": "ConnectionError",
    "MountUploadTimeoutError": "ServiceError",
    "VolumeUploadTimeoutError": "ServiceError",
    "InteractiveTimeoutError": "TimeoutError",
    "SandboxTimeoutError": "FunctionTimeoutError",
    "ExecTimeoutError": "FunctionTimeoutError",
    "SandboxTerminatedError": "RunnerLostError",
    "SandboxFilesystemError": "OSError",
}


def __getattr__(name: str) -> Any:
    if name in _SAME:
        return _SAME[name]
    error = _absent(name, sys._getframe(1))
    try:
        raise error
    except (AttributeError, ImportError):
        error.__traceback__ = None  # raised once more, it shows no frame of ours
        raise


def _absent(name: str, asks: FrameType) -> AttributeError | ImportError:
    """For a name that is not here, which this code asks for."""
    error: AttributeError | ImportError
    text = ""
    if name == "simulate_preemption":
        text = (
            "there is no simulate_preemption: nobody takes a machine away; "
            "`rekindle container stop` ends a runner"
        )
    elif name in _NEVER:
        text = f"rekindle raises no {name}: leave it out, or catch {_NEVER[name]}"
    if is_import(asks):
        names = [one for one in globals() if one[0].isupper()]
        error = ImportError(why_not_imported(__name__, name, text, names))
    else:
        plain = f"module 'rekindle.exception' has no attribute {name!r}"
        error = UnknownNameError(text) if text else AttributeError(plain)
        error.name, error.obj = name, None if text else sys.modules[__name__]
    return of_the_program(error)


def is_import(asks: FrameType) -> bool:
    """Whether this code asks for a name by ``from ... import``, where Python would put an error of
    its own, without what ours says, in place of an AttributeError."""
    from opcode import opmap

    return asks.f_lasti >= 0 and asks.f_code.co_code[asks.f_lasti] == opmap["IMPORT_FROM"]


def why_not_imported(module: str, name: str, text: str, names: Iterable[str]) -> str:
    """What an ImportError says: ``text`` where there is any, else which of ``names`` is near."""
    if text:
        return f"cannot import name {name!r} from {module!r}: {text}"
    import difflib

    near = difflib.get_close_matches(name, list(names), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"cannot import name {name!r} from {module!r}{hint}"
