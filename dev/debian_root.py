#!/usr/bin/env python3
"""Run a command in a fresh clone of this tree, on a minimal Debian of another release.

    dev/debian_root.py [--keep] [--after SHELL] SUITE COMMAND...
    dev/debian_root.py trixie make test
    dev/debian_root.py --after 'make base' trixie .venv/bin/rekindle doctor

The base (python3, python3-venv, make, git, ca-certificates, procps and nothing else) is made once
by mmdebstrap and kept; each run has a copy of it. What --after names is run in a copy whose result
is kept, too, until what the packages are named by changes. A root is entered by unshare and
pivot_root: after a plain chroot, CRIU meets mounts that lie outside of the root. What the run
started and mounted ends with it, and its root is removed; one whose run was killed, by the next
run. Needs root. The Debian mirror, pip's settings, its local folders and the certificates are this
machine's own. Standard library only; it knows nothing of rekindle.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import ctypes
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlparse

TREE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE))

from rekindle.debian import mmdebstrap  # noqa: E402 - found there
from rekindle.exception import SetupError  # noqa: E402

BASES = TREE / ".venv" / "share" / "rekindle" / "roots"
PACKAGES = "python3,python3-venv,make,git,ca-certificates,procps"
#: Where the clone lies in the root.
SOURCE = "/src"
#: Kept of a root that was set up: what a set-up makes in the clone. The rest is cloned anew.
SET_UP = ".venv"
#: What the set-up depends on.
SET_UP_FROM = (
    "Makefile",
    "pyproject.toml",
    "dev/venv.sh",
    "dev/lock/*.txt",
    "rekindle/snapshot/criu*.py",
)
#: Large, and never written to in place: who changes a file there puts a new one in its place. All
#: copies of a root have the same files there, where they lie on one file system.
LINKED = ("usr", f"{SOURCE.lstrip('/')}/{SET_UP}/lib", f"{SOURCE.lstrip('/')}/{SET_UP}/share")
#: In the environment of the command: the suite.
INSIDE = "REKINDLE_DEBIAN_ROOT"
_PR_SET_PDEATHSIG, _MNT_DETACH = 1, 2
_PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip", "~/.config/pip", "~/.pip")
_KEPT = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_", "REKINDLE_TEST_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def main() -> int:
    """The exit status of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--after", default="", help="a command of the shell; its result is kept")
    parser.add_argument("--keep", action="store_true", help="leave the root there, and name it")
    parser.add_argument(
        "--under", type=Path, default=Path("/var/tmp"), help="where the run's root lies"
    )
    parser.add_argument("suite", help="bookworm, trixie, ...")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    if not asked.command:
        parser.error("no command to run")
    if os.geteuid() != 0:
        sys.exit("error: making and entering a root needs root; run it with sudo")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the root is removed
    BASES.mkdir(parents=True, exist_ok=True)
    with place_of_a_run(asked.under, asked.suite, asked.keep) as root:
        # One at a time: two would make the same one, or remove what the other copies.
        with open(BASES / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            base = BASES / asked.suite
            make_base(asked.suite, base)
            if asked.after:
                base = set_up(asked.suite, base, asked.after)
            copy(base, root)
        clone(root)
        return enter(root, settle(root), asked.suite, asked.command)


@contextlib.contextmanager
def place_of_a_run(under: Path, suite: str, keep: bool) -> Iterator[Path]:
    """Where the root of a run is to be, removed afterwards; those of killed runs are, now."""
    for left in under.glob("rekindle-*/lock"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), open(left, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Nothing is mounted below it here: mounts are those of a namespace that is gone.
            shutil.rmtree(left.parent, ignore_errors=True)
    where = Path(tempfile.mkdtemp(prefix=f"rekindle-{suite}-", dir=under))
    where.chmod(0o755)  # a user who is not root works in it too
    try:
        with open(where / "new", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (where / "new").rename(where / "lock")  # seen by others once it is held
            yield where / "root"
    finally:
        if keep:
            (where / "lock").unlink()
            sys.stderr.write(f"kept: {where / 'root'}\n")
        else:
            shutil.rmtree(where)


def copy(source: Path, target: Path, linked: Iterable[str] = LINKED) -> None:
    """A whole root, with its owners (shutil.copytree keeps none)."""
    target.mkdir()
    shutil.copystat(source, target)
    others = []
    for entry in source.iterdir():
        below = [name.partition("/")[2] for name in linked if name.split("/")[0] == entry.name]
        if "" in below:
            _link(entry, target)
        elif below and entry.is_dir():
            copy(entry, target / entry.name, below)
        else:
            others.append(entry)
    if others:
        subprocess.run(["cp", "-a", "--reflink=auto", *others, target], check=True)


def _link(source: Path, into: Path) -> None:
    """The files of ``source`` once more, as hard links; as copies on another file system."""
    linked = subprocess.run(["cp", "-al", source, into], stderr=subprocess.DEVNULL, check=False)
    if linked.returncode != 0:
        shutil.rmtree(into / source.name, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", source, into], check=True)


# ---- the base ----------------------------------------------------------------------------------


def make_base(suite: str, base: Path) -> None:
    """Have mmdebstrap make the base unless it is there."""
    if base.exists():
        return
    base.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rekindle-mmdebstrap-") as scratch:
        made = Path(scratch) / "root"
        try:
            program = mmdebstrap.find(BASES / "mmdebstrap")
            argv = mmdebstrap.command(program, suite, made, PACKAGES)
        except SetupError as error:
            sys.exit(f"error: {error}")
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        put(made, base)


def set_up(suite: str, base: Path, command: str) -> Path:
    """The base after the command; made where it was not made from the same files before."""
    digest = hashlib.sha256(f"{command}\n{base.stat().st_mtime_ns}".encode())
    for pattern in SET_UP_FROM:
        for file in sorted(TREE.glob(pattern)):
            digest.update(file.read_bytes())
    kept = BASES / f"{suite}-{digest.hexdigest()[:12]}"
    if kept.exists():
        return kept
    for old in BASES.glob(f"{suite}-*"):
        shutil.rmtree(old)
    with place_of_a_run(Path("/var/tmp"), suite, keep=False) as root:
        copy(base, root)
        clone(root)
        status = enter(root, settle(root), suite, ["sh", "-ec", command])
        if status != 0:
            sys.exit(f"error: {command!r} ended with {status}")
        put(root, kept)
    return kept


def put(made: Path, place: Path) -> None:
    """Copy a root to where it is looked for: by another name first, so that none is half there."""
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    copy(made, part)
    part.rename(place)


# ---- what lies in a root -----------------------------------------------------------------------


def clone(root: Path) -> None:
    """What is committed in this tree, as whoever clones it gets it; what was set up there stays."""
    ours = ["git", "-c", f"safe.directory={TREE}", "-c", f"safe.directory={TREE}/.git"]
    target = root / SOURCE.lstrip("/")
    before = target.with_name("before")
    if target.exists():
        target.rename(before)
    subprocess.run([*ours, "clone", "--quiet", "--no-hardlinks", TREE, target], check=True)
    if before.exists():
        (before / SET_UP).rename(target / SET_UP)
        shutil.rmtree(before)


def settle(root: Path) -> list[Path]:
    """Copy in names, certificates and pip's settings; the local folders that those name."""
    copied = ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"]
    named = shlex.split(os.environ.get("PIP_FIND_LINKS", ""))
    for name in (*copied, *_PIP_FILES):
        source = Path(name).expanduser()
        target = root / (Path("root") / name[2:] if name[0] == "~" else name.lstrip("/"))
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            target.unlink(missing_ok=True)  # a link would lead out of the root
            shutil.copyfile(source, target)
        if name in _PIP_FILES:
            for file in (source, *source.glob("*.conf")):
                settings = configparser.RawConfigParser(strict=False)
                settings.read([file] if file.is_file() else [])
                for section in settings.sections():
                    for key in ("find-links", "index-url", "extra-index-url"):
                        named += settings.get(section, key, fallback="").split()
    folders = set()
    for word in named:
        path = Path(urlparse(word).path)
        if urlparse(word).scheme in ("", "file") and path.is_dir():
            # The pages of an index point at files beside it.
            folders.add(path.parent if path.name == "simple" else path)
    return sorted(folders)


# ---- inside ------------------------------------------------------------------------------------


def enter(root: Path, folders: list[Path], suite: str, command: list[str]) -> int:
    """Run the command as the root's own processes, in mount and PID namespaces that end with it."""
    inner = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    inner += [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TREE / 'dev')!r}); "]
    inner[-1] += "import debian_root; debian_root.inside(sys.argv[1], sys.argv[2].split(':'), "
    inner[-1] += "sys.argv[3:])"
    names = [name for name in os.environ if name.startswith(_KEPT) or name.lower() in _PROXIES]
    environ = {name: os.environ[name] for name in names}
    environ |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    environ |= {"HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}
    environ |= {INSIDE: suite}
    argv = [*inner, str(root), ":".join(map(str, folders)), *command]
    libc = ctypes.CDLL(None)

    def ends_with_us() -> None:
        # Also where this process is killed: unshare, and by its --kill-child all that is inside.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return subprocess.run(argv, env=environ, check=False, preexec_fn=ends_with_us).returncode


def inside(root: str, folders: list[str], command: list[str]) -> None:
    """As the first process of the namespaces: make the root ours, run the command, end all."""

    def mount(*words: str) -> None:
        subprocess.run(["mount", *words], check=True)

    mount("--bind", root, root)  # pivot_root wants a mount
    mount("--rbind", "/dev", f"{root}/dev")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{root}/dev/shm")
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("--rbind", "/sys", f"{root}/sys")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/run")
    for folder in filter(None, folders):
        os.makedirs(root + folder, exist_ok=True)
        mount("--bind", "-o", "ro", folder, root + folder)
    os.chdir(root)
    libc = ctypes.CDLL(None, use_errno=True)
    # pivot_root(".", ".") puts the old root over the new one, and so it needs no place of its own.
    # From there on nothing of this machine's files is to be reached.
    libc.pivot_root.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    for done in (
        lambda: libc.pivot_root(b".", b"."),
        lambda: libc.umount2(b".", _MNT_DETACH),
    ):
        if done() != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"entering the root: {os.strerror(error)}")
    os.chdir(SOURCE)
    child = os.posix_spawnp(command[0], command, os.environ)
    while True:  # the first process of a PID namespace reaps what others left
        pid, status = os.wait()
        if pid == child:
            # The kernel kills all others when this one ends.
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    sys.exit(main())
