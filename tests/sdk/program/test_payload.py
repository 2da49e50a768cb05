"""The code payload: by value or by name, with handles, and clear errors for what cannot travel."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rekindle.exception import ExecutionError, SerializationError
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.program import registration

_RUNNER = """
import pickle, sys, traceback
assert "rekindle.sdk.connection.client" not in sys.modules
contents = pickle.load(open(sys.argv[1], "rb"))
assert "grpc" not in sys.modules, "a template must not load gRPC"
exec(sys.argv[2])
"""


def pack_in_a_program(directory: Path, program: str, name: str) -> Path:
    """Run ``program`` as a script that packs ``name``; the file with the payload."""
    out = directory / "payload"
    script = directory / "the_script.py"
    script.write_text(
        textwrap.dedent(program)
        + textwrap.dedent(f"""
        if __name__ == "__main__":
            from rekindle.sdk.program import registration
            data = registration.pack({name}._declaration)
            open({str(out)!r}, "wb").write(data)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def in_a_runner(payload_file: Path, code: str, path: str = "") -> str:
    """What ``code``, with ``contents`` at hand, prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _RUNNER, str(payload_file), textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_function_of_the_script_travels_with_what_it_uses(tmp_path: Path) -> None:
    file = pack_in_a_program(
        tmp_path,
        """
        import rekindle
        app = rekindle.App("x")
        FACTOR = 3
        def helper(x): return x * FACTOR
        @app.function()
        def f(x): return helper(x)
        """,
        "f",
    )
    assert in_a_runner(file, "print(contents['kind'], contents['callable'](5))") == "function 15"


def test_functions_of_the_same_app_travel_as_handles_that_can_run_locally(tmp_path: Path) -> None:
    file = pack_in_a_program(
        tmp_path,
        """
        import rekindle
        app = rekindle.App("x")
        @app.function()
        def down(n): return "end" if n == 0 else up.local(n - 1)
        @app.function()
        def up(n): return down.local(n)
        @app.cls()
        class C:
            @rekindle.method()
            def m(self): return app.name
        @app.function()
        def f(n): return down.local(n), C().m.local(), up.name
        """,
        "f",
    )
    shown = in_a_runner(file, "print(contents['callable'](3))", str(tmp_path))
    assert shown == "('end', 'x', 'up')"


def test_a_class_travels_plain_with_its_hooks_and_parameters(tmp_path: Path) -> None:
    file = pack_in_a_program(
        tmp_path,
        """
        import rekindle
        app = rekindle.App("x")
        class Base:
            @rekindle.enter()
            def first(self): pass
        @app.cls(enable_memory_snapshot=True)
        class C(Base):
            a: str = rekindle.parameter()
            b: int = rekindle.parameter(default=2)
            @rekindle.enter(snap=True)
            def load(self): self.x = 1
            @rekindle.exit()
            def bye(self): pass
            @rekindle.method()
            def m(self): return self.other() + self.x
            @rekindle.method()
            def other(self): return 41
        """,
        "C",
    )
    shown = in_a_runner(
        file,
        """
        cls = contents.pop("cls")
        made = cls()
        made.load()
        print(cls.__name__, made.m(), {k: contents[k] for k in sorted(contents)})
        """,
    )
    assert shown == (
        "C 42 {'enter': ['first'], 'enter_gpu': [], 'enter_snap': ['load'], 'exit': ['bye'], "
        "'kind': 'cls', 'methods': {'m': 'm', 'other': 'other'}, "
        "'parameters': {'a': Ellipsis, 'b': 2}}"
    )


def test_code_of_a_local_module_travels_by_name(tmp_path: Path) -> None:
    (tmp_path / "shared_module.py").write_text(
        "import rekindle\napp = rekindle.App('x')\n"
        "@app.function()\ndef f(x): return x + 1\n"
        "@app.cls()\nclass C:\n"
        "    @rekindle.method()\n    def m(self): return 'm'\n"
    )
    file = pack_in_a_program(tmp_path, "from shared_module import f, C", "f")
    assert b"shared_module" in file.read_bytes()
    shown = in_a_runner(file, "print(contents['callable'](5))", str(tmp_path))
    assert shown == "6"
    file = pack_in_a_program(tmp_path, "from shared_module import f, C", "C")
    assert in_a_runner(file, "print(contents['cls']().m())", str(tmp_path)) == "m"


def test_an_unpicklable_global_is_named_with_the_path_to_it(tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text(
        textwrap.dedent("""
        import threading, rekindle
        app = rekindle.App("x")
        STATE = {"db": [threading.Lock()]}
        def helper(): return STATE
        @app.function()
        def f(): return helper()
        from rekindle.exception import SerializationError
        from rekindle.sdk.program import registration
        try:
            registration.pack(f._declaration)
        except SerializationError as error:
            print(error)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert "the code of f cannot be pickled" in done.stdout, done.stderr
    assert "global 'helper' > global 'STATE'['db'][0] is a _thread.lock" in done.stdout


def test_a_handle_without_code_says_so() -> None:
    handle = pickle.loads(pickle.dumps(Declaration("a", "f", "function", function_id="fu-1")))
    assert handle.function_id == "fu-1"
    from rekindle.sdk.function import Function

    with pytest.raises(ExecutionError, match="only a handle"):
        Function(handle).local()


def test_a_lock_in_a_closure_is_named() -> None:
    import threading

    import rekindle

    lock = threading.Lock()
    app = rekindle.App("x")

    @app.function()
    def f() -> object:
        return lock

    with pytest.raises(SerializationError, match="closure variable 'lock'"):
        registration.pack(f._declaration)
