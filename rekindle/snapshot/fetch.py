"""Fetch CRIU and pycriu as Debian packages into a private prefix, without root.

Asks apt, with an apt root of our own, for what CRIU needs in a release that has CRIU 4, from the
mirror that the machine's own apt is configured for, signed by the machine's own Debian keyring.
apt verifies the signature and every package's hash. The packages are unpacked, not installed: the
machine stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rekindle.exception import CriuNotFoundError, SetupError
from rekindle.linux import files
from rekindle.snapshot import criu, programs, pycriu
from rekindle.snapshot.criu import Criu

#: The Debian release that carries CRIU 4 (and whose signing key Debian 12 knows already).
RELEASE = "trixie"

#: ``progress(step, done, total)``: ``step`` in words, then a count or bytes (0, 0 where unknown).
Progress = Callable[[str, int, int], None]

_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
#: Packages in CRIU's closure that running the binary does not need: maintainer scripts' tools.
_NOT_TO_RUN = frozenset({"debconf", "dpkg", "tar"})
_APT_TIMEOUT_S = 600.0
_OTHERWISE = "or install CRIU 4.0 or newer by other means and set REKINDLE_CRIU to it"
_TOOLS = ("apt-get", "apt-config", "dpkg-deb")


class Package(NamedTuple):
    """One package file that apt would fetch; its size in bytes."""

    name: str
    size: int


def fetch(
    prefix: Path,
    progress: Progress = lambda _step, _done, _total: None,
    *,
    keyring: Path | None = None,
) -> Criu:
    """Make ``prefix`` hold a CRIU that works here, and pycriu. Replaces what was there, whole.

    Without the privileges to run it, the kernel is not asked whether it suits.
    Raises SetupError, naming the step that failed: no apt, no mirror, a signature that does not
    verify, no space, a CRIU that this kernel does not suit. ``prefix`` is then as it was.
    """
    with _unpacked(prefix, ("criu",), keyring, progress) as tree:
        # CRIU insists on its plugin directory where one is named; ours has none to load.
        (tree / "usr" / "lib" / "criu").mkdir(parents=True, exist_ok=True)
        progress("checking CRIU", 0, 0)
        try:
            criu.at(tree) if criu.may_be_asked() else criu.unchecked(tree)
        except CriuNotFoundError as error:
            raise SetupError(
                f"the CRIU of Debian {RELEASE} does not work on this machine: {error}; see "
                f"`rekindle doctor`, {_OTHERWISE}"
            ) from error
        _replace(prefix, tree)
    criu.forget()
    return criu.at(prefix) if criu.may_be_asked() else criu.unchecked(prefix)


def fetch_pycriu(
    prefix: Path,
    progress: Progress = lambda _step, _done, _total: None,
    *,
    keyring: Path | None = None,
) -> None:
    """Make ``prefix`` hold pycriu alone, for a machine that has a CRIU of its own.

    Raises SetupError as ``fetch`` does.
    """
    with _unpacked(prefix, (), keyring, progress) as tree:
        _replace(prefix, tree)


@contextlib.contextmanager
def _unpacked(
    prefix: Path, wanted: tuple[str, ...], keyring: Path | None, progress: Progress
) -> Iterator[Path]:
    """A directory next to ``prefix`` with the packages unpacked; removed unless it was moved."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise SetupError(f"{' and '.join(missing)} not found: use a Debian machine, {_OTHERWISE}")
    with contextlib.ExitStack() as cleanup:
        try:
            prefix.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(prefix.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            cleanup.callback(os.close, lock)
            files.lock(lock)  # after another set-up that may be at work
            for leftover in prefix.parent.glob(f".{prefix.name}-*"):  # of one that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            tree = Path(tempfile.mkdtemp(prefix=f".{prefix.name}-", dir=prefix.parent))
            cleanup.callback(shutil.rmtree, tree, ignore_errors=True)
            tree.chmod(0o755)
            with tempfile.TemporaryDirectory(prefix="rekindle-apt-") as scratch:
                apt = _Apt(Path(scratch), keyring or _machine_keyring())
                progress("reading the package index", 0, 0)
                apt.update(mirror())
                packages = apt.closure(wanted) if wanted else []
                debs = apt.download(
                    [*(p.name for p in packages), pycriu.PACKAGE], packages, progress
                )
                for count, deb in enumerate(debs):
                    progress("unpacking", count, len(debs))
                    _run(["dpkg-deb", "--extract", str(deb), str(tree)], f"unpacking {deb.name}")
                progress("unpacking", len(debs), len(debs))
            yield tree
        except OSError as error:
            raise SetupError(f"cannot set up CRIU in {prefix}: {error}") from error


def _replace(prefix: Path, tree: Path) -> None:
    """Put ``tree`` in the place of ``prefix``; a CRIU that is running keeps its open files."""
    old = prefix.with_name(f".{prefix.name}-old-{os.getpid()}")
    had_one = prefix.exists()
    if had_one:
        os.rename(prefix, old)
    try:
        os.rename(tree, prefix)
    except OSError:
        if had_one:
            os.rename(old, prefix)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _machine_keyring() -> Path:
    for path in _KEYRINGS:
        if path.exists():
            return path
    raise SetupError(
        f"no Debian keyring at {_KEYRINGS[0]}: install the package debian-archive-keyring, "
        f"{_OTHERWISE}"
    )


# ---- the machine's own apt -----------------------------------------------------------------


def mirror() -> str:
    """URI of the Debian mirror that this machine's apt uses for its own release.

    Raises SetupError when its configuration names none.
    """
    listing = _run(
        [
            "apt-get",
            "indextargets",
            "--option=APT::Get::IndexTargets::ReleaseInfo=false",  # also what was never fetched
            "--format",
            "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CREATED_BY)",
        ],
        "asking apt for its mirrors",
    )
    found = choose_mirror(listing.splitlines(), _codename())
    if found is None:
        raise SetupError(
            "this machine's apt is configured for no Debian mirror: add one to "
            f"/etc/apt/sources.list, {_OTHERWISE}"
        )
    return found


def choose_mirror(lines: Iterable[str], codename: str) -> str | None:
    """The repository that carries ``main`` of the machine's own release, else of any release.

    ``lines`` are ``URI|release|component|kind``. Security and updates repositories do not carry
    whole releases, CD-ROMs carry no other release, and neither do others' repositories.
    """
    candidates: list[tuple[bool, str]] = []
    for line in lines:
        uri, release, component, _kind = line.split("|")
        suite = release.partition("/")[0]
        known = suite in (codename, RELEASE, "stable", "oldstable", "testing", "unstable", "sid")
        if component != "main" or uri.startswith("cdrom:"):
            continue
        if re.search(r"-(updates|security|backports|proposed)", suite) or "/" in release:
            continue
        if known:
            candidates.append((suite != codename, uri))
    return min(candidates)[1] if candidates else None


def _codename() -> str:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^VERSION_CODENAME="?([\w-]+)', text, flags=re.MULTILINE)
    return found[1] if found else ""


def _run(
    argv: list[str],
    doing: str,
    cwd: Path | None = None,
    extra_environment: dict[str, str] | None = None,
) -> str:
    environment = {**os.environ, "LC_ALL": "C", **(extra_environment or {})}
    try:
        done = programs.run(argv, _APT_TIMEOUT_S, env=environment, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise SetupError(f"{doing}: no end after {_APT_TIMEOUT_S:g} s; try again") from None
    except OSError as error:
        raise SetupError(f"{doing}: cannot run {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise SetupError(
            f"{doing} failed: {_said(done.stderr + done.stdout)}; try again, {_OTHERWISE}"
        )
    return done.stdout


def _said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    worst = [line for line in lines if re.match(r"(E|Err|W):|.*(NO_PUBKEY|signature)", line)]
    return " / ".join(dict.fromkeys(worst or lines[-3:]))[:1000] or "no output"


# ---- an apt root of our own ----------------------------------------------------------------


class _Apt:
    """apt that knows one release, one keyring and no installed package."""

    def __init__(self, root: Path, keyring: Path) -> None:
        self.root = root
        self.keyring = keyring
        root.chmod(0o755)  # as root, apt downloads as a user of its own
        for directory in ("lists/partial", "cache/archives/partial", "debs"):
            (root / directory).mkdir(parents=True)
        (root / "apt.conf").write_text(self._settings())
        self.environment = {"APT_CONFIG": str(root / "apt.conf")}

    def _settings(self) -> str:
        """How the machine reaches its mirrors (proxies and such), and nothing else of its own."""
        reach = [
            line
            for line in _run(["apt-config", "dump"], "reading apt's configuration").splitlines()
            if line.startswith("Acquire::")
        ]
        settings = {
            "Dir::Etc::Parts": "/dev/null",
            "Dir::Etc::Main": "/dev/null",
            "Dir::Etc::SourceList": self.root / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State::Lists": self.root / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::State::Extended_States": self.root / "extended_states",
            "Dir::Cache": self.root / "cache",
            "APT::Install-Recommends": "false",
            "APT::Update::Error-Mode": "any",
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # Whatever the machine allows itself: no package here goes unverified.
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
        }
        ours = [f'{name} "{value}";' for name, value in settings.items()]
        return "\n".join([*reach, *ours, ""])

    def update(self, uri: str) -> None:
        """Fetch the release's index; its signature must verify."""
        (self.root / "sources.list").write_text(
            f"deb [signed-by={self.keyring}] {uri} {RELEASE} main\n"
        )
        self._get(["update"], f"reading the index of Debian {RELEASE} from {uri}")

    def closure(self, wanted: tuple[str, ...]) -> list[Package]:
        """The wanted packages and all that they need to run."""
        listing = self._get(
            ["--yes", "--print-uris", "install", *wanted],
            f"resolving what {' '.join(wanted)} needs",
        )
        packages = parse_uris(listing.splitlines())
        return [package for package in packages if package.name not in _NOT_TO_RUN]

    def download(self, names: list[str], known: list[Package], progress: Progress) -> list[Path]:
        """Fetch package files and verify their hashes; in the order in which to unpack them."""
        target = self.root / "debs"
        total = sum(package.size for package in known)
        progress("fetching packages", 0, total)
        self._get(["download", *names], f"fetching {len(names)} packages", cwd=target)
        progress("fetching packages", total, total)
        return sorted(target.glob("*.deb"))

    def _get(self, arguments: list[str], doing: str, cwd: Path | None = None) -> str:
        return _run(["apt-get", "--quiet", *arguments], doing, cwd, self.environment)


def parse_uris(lines: Iterable[str]) -> list[Package]:
    """Packages of ``apt-get --print-uris``: lines of ``'URI' file-name size hash``."""
    found = (re.match(r"'[^']+' ([^\s_]+)\S* (\d+)", line) for line in lines)
    return [Package(one[1], int(one[2])) for one in found if one]
