"""A process that forks on request, and says how long that took. Standard library only.

python -I fork_probe.py fork BYTES 4k|huge
python -I fork_probe.py exec
"""

import mmap
import os
import sys
import time


def fork() -> float:
    """Milliseconds from os.fork to the child's first byte."""
    read_end, write_end = os.pipe()
    began = time.perf_counter_ns()
    pid = os.fork()
    if pid == 0:
        os.write(write_end, b"x")
        os._exit(0)
    os.read(read_end, 1)
    took = (time.perf_counter_ns() - began) / 1e6
    os.close(read_end)
    os.close(write_end)
    os.waitpid(pid, 0)
    return took


def execute() -> float:
    """Milliseconds from os.fork to the end of /bin/true."""
    began = time.perf_counter_ns()
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)
    return (time.perf_counter_ns() - began) / 1e6


def hold(size: int, pages: str) -> mmap.mmap:
    """Private memory that is all there, in pages of the wished kind."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE if pages == "huge" else mmap.MADV_NOHUGEPAGE)
    block = os.urandom(1 << 20)
    for start in range(0, size, len(block)):
        part = min(len(block), size - start)
        memory[start : start + part] = block[:part]
    return memory


def main() -> None:
    """Answer each line with a figure."""
    held = None
    if sys.argv[1] == "fork" and int(sys.argv[2]):
        held = hold(int(sys.argv[2]), sys.argv[3])
    measure = fork if sys.argv[1] == "fork" else execute
    print("ready", flush=True)
    for _line in sys.stdin:
        print(measure(), flush=True)
    del held


main()
