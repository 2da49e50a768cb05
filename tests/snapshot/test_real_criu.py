"""Real processes, frozen and brought back by the machine's CRIU."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.exception import CriuNotFoundError, SnapshotInvalidError
from rekindle.snapshot import diagnose, machine, pycriu, validate
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.manifest import LoadedFile
from tests.snapshot import sandbox
from tests.snapshot.conftest import CommitReal, Dumped
from tests.snapshot.namespace_init import RESTORE_CONTROL

pytestmark = pytest.mark.criu


def _dump_error(criu: Criu, images: Path, code: str) -> str:
    with sandbox.template(criu, code + "\ndef answer(): return 1") as template:
        done = template.dump(images)
        assert done.returncode != 0
        assert template.inside.answer() == "1"  # a dump that fails does it no harm
    log = (images / "dump.log").read_text(errors="replace")
    return diagnose.explain_dump_failure(log + done.stderr, images_dir=images)


# ---- dump and restore ----------------------------------------------------------------------


def test_each_copy_goes_on_from_where_the_template_was_frozen(
    criu: Criu, commit_real: CommitReal
) -> None:
    snapshot = commit_real()
    validate.validate_here(snapshot, machine.here(criu), full=True)
    for _ in range(3):
        with sandbox.restored(criu, snapshot.images, snapshot.manifest.control_pipe) as copy:
            assert copy.rc == 0, copy.log
            assert copy.inside.answer() == "42"
            assert copy.inside.answer() == "43"
    validate.validate_here(snapshot, machine.here(criu), full=True)  # and nothing was written


def test_eight_copies_live_at_once(criu: Criu, commit_real: CommitReal) -> None:
    snapshot = commit_real()
    problems: list[BaseException] = []
    together = threading.Barrier(8, timeout=60)

    def restore() -> None:
        try:
            together.wait()
            with sandbox.restored(criu, snapshot.images, snapshot.manifest.control_pipe) as copy:
                assert copy.rc == 0, copy.log
                assert copy.inside.answer() == "42"
                together.wait()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must fail on it
            together.abort()
            problems.append(error)

    threads = [threading.Thread(target=restore) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_the_template_goes_on_after_its_dump(criu: Criu, tmp_path: Path) -> None:
    code = "n = 0\ndef answer():\n    global n\n    n += 1\n    return n"
    with sandbox.template(criu, code) as template:
        assert template.inside.answer() == "1"
        assert template.dump(tmp_path).returncode == 0
        assert template.inside.answer() == "2"
    with sandbox.restored(criu, tmp_path, template.control_pipe) as copy:
        assert copy.inside.answer() == "2"


@pytest.mark.needs_root("CRIU reads memory of deleted files for it alone (map_files)")
def test_a_template_with_threads_and_deleted_shared_memory_comes_back(
    criu: Criu, tmp_path: Path
) -> None:
    code = """
        import multiprocessing, threading
        from multiprocessing import shared_memory
        lock = multiprocessing.Lock()
        memory = shared_memory.SharedMemory(create=True, size=3 << 20)
        memory.buf[:5] = b"hello"
        memory.unlink()
        ask, told = threading.Event(), threading.Event()
        def wait():
            ask.wait()
            told.set()
        threading.Thread(target=wait, daemon=True).start()
        def answer():
            ask.set()
            with lock:
                return bytes(memory.buf[:5]).decode() + str(told.wait(60))
    """
    with sandbox.template(criu, code) as template:
        assert template.dump(tmp_path).returncode == 0, (tmp_path / "dump.log").read_text()
    with contextlib.ExitStack() as stack:
        copies = [
            stack.enter_context(sandbox.restored(criu, tmp_path, template.control_pipe))
            for _ in range(3)
        ]
        assert [copy.rc for copy in copies] == [0, 0, 0]
        assert [copy.inside.answer() for copy in copies] == ["helloTrue"] * 3


@pytest.mark.needs_root("another user's CRIU keeps it in XDG_RUNTIME_DIR")
def test_the_feature_cache_is_written_where_run_is_private(
    criu: Criu, dumped: Dumped, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with sandbox.namespaces(tmpfs={Path("/run"): "size=1m"}, first_pid=0) as inside:
        argv = sandbox.restore_argv(
            criu,
            images_dir=dumped.images,
            log=inside.scratch / "restore.log",
            inherit={RESTORE_CONTROL: dumped.control_pipe},
        )
        assert inside.run(argv, fds=(RESTORE_CONTROL,)).returncode == 0
        assert "criu.kdat" in inside.run(["ls", "/run"]).stdout
        assert inside.answer() == "42"


# ---- damage --------------------------------------------------------------------------------


def test_a_truncated_image_is_refused_before_criu_sees_it(
    criu: Criu, commit_real: CommitReal
) -> None:
    # CRIU 4.1 waits for ever on a page file that is too short.
    snapshot = commit_real()
    pages = snapshot.images / "pages-1.img"
    pages.chmod(0o600)  # what is kept is not to be written, by its owner either
    os.truncate(pages, pages.stat().st_size // 2)
    with pytest.raises(SnapshotInvalidError, match=r"pages-1\.img is truncated"):
        validate.validate_here(snapshot, machine.here(criu))


def test_a_corrupt_image_is_refused(criu: Criu, commit_real: CommitReal) -> None:
    snapshot = commit_real()
    core = snapshot.images / "core-100.img"
    content = bytearray(core.read_bytes())
    content[len(content) // 2] ^= 0xFF
    core.chmod(0o600)  # what is kept is not to be written, by its owner either
    core.write_bytes(content)
    with pytest.raises(SnapshotInvalidError, match=r"core-100\.img is corrupt"):
        validate.validate_images(snapshot)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("core-100.img", "image file core-100.img is damaged or truncated"),
        ("files.img", "image file files.img is damaged or truncated"),
        ("pstree.img", "image file pstree.img is damaged or truncated"),
        ("inventory.img", "image file inventory.img is damaged or truncated"),
    ],
)
def test_damage_that_only_criu_finds_is_explained(
    criu: Criu, dumped: Dumped, tmp_path: Path, name: str, words: str
) -> None:
    images = tmp_path / "images"
    shutil.copytree(dumped.images, images)
    os.truncate(images / name, (images / name).stat().st_size // 2)
    with sandbox.restored(criu, images, dumped.control_pipe) as copy:
        assert copy.rc != 0
    assert diagnose.explain_restore_failure(copy.log) == words


def test_a_library_that_changed_since_is_found_by_us_and_by_criu(
    criu: Criu, commit_real: CommitReal, tmp_path: Path
) -> None:
    library = tmp_path / "data.bin"
    library.write_bytes(b"x" * 8192)
    info = library.stat()
    images = tmp_path / "images"
    images.mkdir()
    code = f"""
        import mmap
        with open({str(library)!r}, "rb") as f:
            mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        def answer(): return len(mapped)
    """
    with sandbox.template(criu, code) as template:
        assert template.dump(images).returncode == 0
    library.write_bytes(b"x" * 4096)
    snapshot = commit_real(loaded_files={str(library): LoadedFile(info.st_size, info.st_mtime_ns)})
    with pytest.raises(SnapshotInvalidError, match=f"loaded file {library} changed"):
        validate.validate_here(snapshot, machine.here(criu))
    with sandbox.restored(criu, images, template.control_pipe) as copy:
        assert copy.rc != 0
    assert diagnose.explain_restore_failure(copy.log) == (
        f"file {library} changed since the snapshot: 4096 bytes instead of 8192"
    )


def test_a_process_id_that_is_taken_is_named(criu: Criu, dumped: Dumped) -> None:
    with sandbox.namespaces(first_pid=100) as inside:
        assert inside.start(["sleep", "600"]) == 100
        log = inside.scratch / "restore.log"
        argv = sandbox.restore_argv(
            criu, images_dir=dumped.images, log=log, inherit={RESTORE_CONTROL: dumped.control_pipe}
        )
        assert inside.run(argv, fds=(RESTORE_CONTROL,)).returncode != 0
        assert diagnose.explain_restore_failure(log.read_text()) == (
            "process id 100 is taken in the PID namespace"
        )


# ---- what cannot be dumped -----------------------------------------------------------------


@pytest.fixture
def tcp_port() -> Iterator[int]:
    """A server on this machine that a template can connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_open_tcp_connection_is_named_with_its_descriptor(
    criu: Criu, tmp_path: Path, tcp_port: int
) -> None:
    code = f"import socket; s = socket.create_connection(('127.0.0.1', {tcp_port}))"
    told = _dump_error(criu, tmp_path, code)
    assert told.startswith("a TCP connection is open (file descriptor 4): close it in the enter")


def test_a_unix_connection_to_another_process_is_named(criu: Criu, tmp_path: Path) -> None:
    path = tmp_path / "db.sock"
    images = tmp_path / "images"
    images.mkdir()
    code = f"""
import socket
s = socket.socket(socket.AF_UNIX)
s.connect({str(path)!r})
s.recv(1)  # until it was accepted: before, CRIU dumps what it cannot restore
"""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(path))
        server.listen()

        def greet() -> None:
            stack.enter_context(server.accept()[0]).send(b"x")

        greeter = threading.Thread(target=greet)
        greeter.start()
        try:
            told = _dump_error(criu, images, code)
        finally:
            greeter.join()
    assert told.startswith("a Unix socket is connected outside the process (file descriptor 4)")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import fcntl; f = open(__file__); fcntl.flock(f, 2)", "a file lock is held"),
        (
            "import tempfile; f = tempfile.TemporaryFile(); f.write(bytes(65 << 20)); f.flush()",
            "the deleted file",
        ),
        ("import os; f = os.open('/dev/fuse', os.O_RDWR)", "file descriptor 4 is the character"),
        (
            "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)",
            "another program traces the process",
        ),
    ],
    ids=["lock", "deleted file", "device", "traced"],
)
def test_other_obstacles_are_named(criu: Criu, tmp_path: Path, code: str, words: str) -> None:
    if "/dev/fuse" in code and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse for this user on this machine")
    assert _dump_error(criu, tmp_path, code).startswith(words)


@pytest.mark.parametrize("size", ["64k", "4m"], ids=["at once", "in the pages"])
def test_a_disk_that_is_full_while_dumping_is_named(criu: Criu, tmp_path: Path, size: str) -> None:
    code = "import os\nmemory = os.urandom(8 << 20)\ndef answer(): return len(memory)"
    images = tmp_path / "small"
    images.mkdir()
    with sandbox.template(criu, code, tmpfs={images: f"size={size}"}) as template:
        assert template.dump(images).returncode != 0
        log = template.inside.run(["cat", str(images / "dump.log")]).stdout
        told = diagnose.explain_dump_failure(log, images_dir=images)
        assert told == f"no space left on {images}"
        assert template.inside.answer() == str(8 << 20)


def test_images_cannot_be_dumped_to_a_directory_that_is_not_there(
    criu: Criu, tmp_path: Path
) -> None:
    with sandbox.template(criu) as template:
        done = template.dump(tmp_path / "absent")
    assert diagnose.explain_dump_failure(done.stderr) == (
        f"the directory {tmp_path / 'absent'} does not exist"
    )


# ---- pycriu --------------------------------------------------------------------------------


_READ_ALL = """
import sys
from pathlib import Path
from rekindle.snapshot import pycriu
before = list(sys.path)
images = pycriu.images(Path(sys.argv[1]))
assert sys.path == before
for path in sorted(Path(sys.argv[2]).glob("*.img")):
    if not path.name.startswith("pages-"):
        with open(path, "rb") as source:
            image = images.load(source)
        print(path.name, image["magic"])
"""


def test_every_image_can_be_read_whatever_protobuf_lies_beside_pycriu(
    dumped: Dumped, tmp_path: Path
) -> None:
    location = pycriu.location()
    assert location is not None, "set-up provides pycriu"
    site = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    site.mkdir(parents=True)
    (site / "pycriu").symlink_to(location / "pycriu")
    (site / "google" / "protobuf").mkdir(parents=True)
    (site / "google" / "protobuf" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    # In a process of its own: a crash of the interpreter is one of the ways in which this fails.
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(tmp_path), str(dumped.images)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert "inventory.img INVENTORY" in done.stdout
    assert "mm-100.img MM" in done.stdout


def test_the_pycriu_beside_a_criu_that_was_chosen_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    (site / "pycriu" / "images").mkdir(parents=True)
    (site / "pycriu" / "images" / "__init__.py").touch()
    monkeypatch.setenv("REKINDLE_CRIU", str(tmp_path))
    assert pycriu.location() == site


def test_without_pycriu_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pycriu.images", raising=False)
    monkeypatch.setattr(pycriu, "_SITE", Path("nowhere"))
    assert not pycriu.present(tmp_path)
    with pytest.raises(CriuNotFoundError, match="rekindle setup criu"):
        pycriu.images(tmp_path)
