"""Variables by which an agent tells a template and its runners of GPUs. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

#: In a runner: the UUIDs of the GPUs that it holds, with commas, in CUDA's order. Set beside
#: CUDA_VISIBLE_DEVICES; a runner that has it brings its GPUs up before its hooks run.
GPUS = "REKINDLE_GPUS"
#: In a template: the UUIDs that its runners may get, as many as each will have.
EXPECTED = "REKINDLE_GPUS_EXPECTED"
#: In a runner with a share of one GPU: MiB of it.
MEMORY_MIB = "REKINDLE_GPU_MEMORY_MIB"
#: In a runner: how the process that keeps weights on its first GPU is reached: a socket's path, or
#: a descriptor, as ``fd:<number>:<process id>``. A function's ``env=`` goes before what agents say.
HOLDER = "REKINDLE_GPU_HOLDER"
HOLDER_FD = "fd:"
#: In a runner: what names its revision at the holder.
REVISION = "REKINDLE_GPU_REVISION"
#: What a start says of its own: not for a copy of the process that was told.
OF_A_START = (GPUS, MEMORY_MIB, HOLDER, REVISION)


def uuids(environ: Mapping[str, str], name: str = GPUS) -> tuple[str, ...]:
    """Those that a variable lists; none where it is not set."""
    return tuple(one for one in environ.get(name, "").split(",") if one)
