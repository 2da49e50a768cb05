#!/usr/bin/env python3
"""Run a command in a fresh clone of this tree, on a minimal Debian of another release.

    dev/debian_root.py [--keep] [--base DIRECTORY] SUITE COMMAND...
    dev/debian_root.py trixie make test

The base (python3, python3-venv, make, git, ca-certificates, procps and nothing else) is made once
by mmdebstrap and kept; each run has a copy of it. It is entered by unshare and pivot_root: after a
plain chroot, CRIU meets mounts that lie outside of the root. What the run started and mounted ends
with it, and its root is removed. Needs root. The Debian mirror, pip's settings, its local folders
and the certificates are this machine's own. Standard library only; it knows nothing of rekindle.
"""

from __future__ import annotations

import argparse
import configparser
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlparse

TREE = Path(__file__).resolve().parent.parent
BASES = TREE / ".venv" / "share" / "rekindle" / "roots"
PACKAGES = "python3,python3-venv,make,git,ca-certificates,procps"
#: Where the clone lies in the root.
SOURCE = "/src"
_MNT_DETACH = 2
_PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip", "~/.config/pip", "~/.pip")
_KEPT = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_", "REKINDLE_TEST_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def main() -> int:
    """The exit status of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, help="a root to copy, made where it is missing")
    parser.add_argument("--keep", action="store_true", help="leave the root there, and name it")
    parser.add_argument("suite", help="bookworm, trixie, ...")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    if not asked.command:
        parser.error("no command to run")
    if os.geteuid() != 0:
        sys.exit("error: making and entering a root needs root; run it with sudo")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the root is removed
    base = (asked.base or BASES / asked.suite).absolute()
    make_base(asked.suite, base)
    where = Path(tempfile.mkdtemp(prefix=f"rekindle-{asked.suite}-", dir="/var/tmp"))
    where.chmod(0o755)  # a user who is not root works in it too
    root = where / "root"
    try:
        # Copied with cp: shutil.copytree keeps no owners.
        subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
        clone(root)
        folders = settle(root)
        return enter(root, folders, asked.command)
    finally:
        if asked.keep:
            sys.stderr.write(f"kept: {root}\n")
        else:
            # Nothing is mounted below it here: the mounts were those of a namespace that is gone.
            shutil.rmtree(where)


# ---- the base ----------------------------------------------------------------------------------


def make_base(suite: str, base: Path) -> None:
    """Have mmdebstrap make the base unless it is there."""
    if base.exists():
        return
    base.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rekindle-mmdebstrap-") as scratch:
        made = Path(scratch) / "root"
        argv = [find_mmdebstrap(Path(scratch)), "--variant=apt", f"--include={PACKAGES}"]
        for key in ("Acquire::http::Proxy", "Acquire::https::Proxy"):
            value = _said(["apt-config", "dump", "--format", "%v", key]).strip()
            argv += [f'--aptopt={key} "{value}"'] if value else []
        mirror = debian_mirror()
        argv += [suite, str(made), *([mirror] if mirror else [])]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        # Beside its place first: one that is half there would be taken for a whole one.
        part = base.with_name(f"{base.name}.{os.getpid()}")
        subprocess.run(["cp", "-a", made, part], check=True)
        part.rename(base)


def find_mmdebstrap(scratch: Path) -> str:
    """The machine's, or the one of the package, downloaded and unpacked without installing it."""
    found = shutil.which("mmdebstrap")
    if found:
        return found
    # Lists of its own: the machine's may be empty, and are not ours to renew. apt checks
    # signatures.
    lists, cache = scratch / "lists", scratch / "cache"
    for place in (scratch, lists / "partial", cache / "archives" / "partial"):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
    apt += ["-o", "APT::Sandbox::User=root"]
    try:
        # A source that is out of reach is none of ours: what counts is the package.
        subprocess.run([*apt, "update"], check=False)
        subprocess.run([*apt, "download", "mmdebstrap"], cwd=scratch, check=True)
        (package,) = scratch.glob("mmdebstrap_*.deb")
        subprocess.run(["dpkg-deb", "--extract", package, scratch / "unpacked"], check=True)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        sys.exit(f"error: no mmdebstrap ({error}); install it: apt-get install mmdebstrap")
    return str(scratch / "unpacked" / "usr" / "bin" / "mmdebstrap")


def debian_mirror() -> str:
    """Where this machine gets Debian from; empty where it is no Debian (mmdebstrap knows one)."""
    sites = _said(["apt-get", "indextargets", "--format", "$(SITE)", "Identifier: Packages"])
    for site in sites.split():
        if urlparse(site).path.rstrip("/").endswith("/debian"):
            return site
    return ""


def _said(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""  # no apt here


# ---- what lies in a root -----------------------------------------------------------------------


def clone(root: Path) -> None:
    """What is committed in this tree, as whoever clones it gets it."""
    ours = ["git", "-c", f"safe.directory={TREE}", "-c", f"safe.directory={TREE}/.git"]
    target = root / SOURCE.lstrip("/")
    subprocess.run([*ours, "clone", "--quiet", "--no-hardlinks", TREE, target], check=True)


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


def enter(root: Path, folders: list[Path], command: list[str]) -> int:
    """Run the command as the root's own processes, in mount and PID namespaces that end with it."""
    inner = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    inner += [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TREE / 'dev')!r}); "]
    inner[-1] += "import debian_root; debian_root.inside(sys.argv[1], sys.argv[2].split(':'), "
    inner[-1] += "sys.argv[3:])"
    names = [name for name in os.environ if name.startswith(_KEPT) or name.lower() in _PROXIES]
    environ = {name: os.environ[name] for name in names}
    environ |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    environ |= {"HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}
    argv = [*inner, str(root), ":".join(map(str, folders)), *command]
    return subprocess.run(argv, env=environ, check=False).returncode


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
