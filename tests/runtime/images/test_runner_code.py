"""What of rekindle is shown in an image: enough to run, and no more."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.runtime.images import runner_code
from tests import unlistable

#: Where the modules of this package are.
_PACKAGE = Path(runner_code.__file__).parents[3]


def _said_with_only(made: Path, code: str) -> str:
    """What Python prints that has just this, and the standard library."""
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(made), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_it_imports_with_the_standard_library_alone_and_has_no_agent(tmp_path: Path) -> None:
    made = runner_code.provide(tmp_path)
    assert sorted(path.name for path in made.iterdir()) == ["cloudpickle", "rekindle"]
    for absent in ("controller", "cli", "snapshot", "bench", "runtime/agent", "runtime/images"):
        assert not (made / "rekindle" / absent).exists(), absent
    code = """if True:
        import sys
        import rekindle.runtime.runner.main, rekindle.runtime.runner.many.serving, cloudpickle
        import rekindle
        app = rekindle.App("x")
        @app.function()
        def f(): ...
        @app.cls()
        class C:
            @rekindle.enter()
            def e(self): ...
            @rekindle.method()
            def m(self): ...
        rekindle.Volume.from_name("v"), rekindle.Secret.from_dict({"a": "b"}), rekindle.Image.host()
        print({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
    """
    said = _said_with_only(made, code)
    assert eval(said) - {"__main__", "sitecustomize"} == {"rekindle", "cloudpickle"}, said


def test_nothing_in_it_imports_what_is_not_in_it(tmp_path: Path) -> None:
    made = runner_code.provide(tmp_path)
    lacking = set()
    for file in made.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rekindle"):
                names = [f"{node.module}.{one.name}" for one in node.names]
                if node.module == "rekindle.sdk.connection.over_grpc":
                    continue  # transport.py looks whether it is there
                if not any(_is_in(made, name) for name in (*names, node.module or "")):
                    lacking.add((str(file.relative_to(made)), node.module))
                if node.module and not _is_module_file(made, node.module):  # of a package
                    lacking |= {
                        (str(file.relative_to(made)), name)
                        for name in names
                        if (_PACKAGE / name.replace(".", "/")).with_suffix(".py").exists()
                        and not _is_in(made, name)
                    }
    assert not lacking


def _is_in(made: Path, module: str) -> bool:
    place = made / module.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").exists()


def _is_module_file(made: Path, module: str) -> bool:
    return (made / module.replace(".", "/")).with_suffix(".py").exists()


def test_it_is_made_once_and_what_it_was_compiled_for_is_remembered(tmp_path: Path) -> None:
    made = runner_code.provide(tmp_path)
    before = (made / "rekindle" / "paths.py").stat()
    assert runner_code.provide(tmp_path) == made
    assert (made / "rekindle" / "paths.py").stat().st_ino == before.st_ino
    assert not runner_code.is_compiled(made, "3.13")
    runner_code.was_compiled(made, "3.13")
    assert runner_code.is_compiled(made, "3.13") and not runner_code.is_compiled(made, "3.12")


def test_it_can_ask_the_controller_without_grpc_and_protobuf(tmp_path: Path) -> None:
    made = runner_code.provide(tmp_path)
    code = """if True:
        import sys, pathlib
        from rekindle.sdk.connection.transport import open_transport
        import rekindle.sdk.autoscaler, rekindle.sdk.call_graph, rekindle.sdk.deploying
        import rekindle.sdk.function_call, rekindle.sdk.holding, rekindle.sdk.lookups
        import rekindle.sdk.secret_requests, rekindle.sdk.stats, rekindle.sdk.variants
        import rekindle.sdk.calls.mapping, rekindle.sdk.calls.streaming, rekindle.sdk.calls.invoke
        from rekindle.wire import rekindle_pb2 as pb
        print(type(open_transport(pathlib.Path("/nowhere"), "token", inherited=False)).__name__)
        print(pb.Input(index=3).SerializeToString().hex())
        print({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
    """
    said = _said_with_only(made, code).splitlines()
    assert said[:2] == ["FramedTransport", "0803"]
    assert eval(said[2]) - {"__main__", "sitecustomize", "cloudpickle"} == {"rekindle"}, said


@pytest.mark.parametrize("part", ["wire", "sdk/calls"])
def test_a_part_that_cannot_be_listed_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    unlistable.make(monkeypatch, _PACKAGE / "rekindle" / part)
    with pytest.raises(PermissionError):
        runner_code.provide(tmp_path)
