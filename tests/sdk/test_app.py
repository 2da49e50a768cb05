"""What decorators accept, and what they say about what they do not."""

from __future__ import annotations

import importlib
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError
from rekindle.sdk.program import registration


def _price() -> int:
    return 1


def make() -> rekindle.App:
    return rekindle.App("demo")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": 0}, ["timeout=0", "1 to 86400"]),
        ({"timeout": 86_401}, ["timeout=86401", "1 to 86400"]),
        ({"timeout": None}, ["timeout=None"]),
        ({"timeout": "5"}, ["timeout='5'"]),
        ({"timeout": True}, ["timeout=True"]),
        ({"startup_timeout": 0.5}, ["startup_timeout=0.5"]),
        ({"startup_timeout": 86_401}, ["startup_timeout=86401", "1 to 86400"]),
        ({"timeout": float("nan")}, ["timeout=nan"]),
        ({"scaledown_window": 1}, ["scaledown_window=1", "2 to 3600"]),
        ({"scaledown_window": 3601}, ["scaledown_window=3601"]),
        ({"min_containers": -1}, ["min_containers=-1", "at least 0"]),
        ({"min_containers": 1.5}, ["min_containers=1.5", "whole number"]),
        ({"max_containers": 0}, ["max_containers=0", "at least 1"]),
        ({"min_containers": 3, "max_containers": 2}, ["min_containers=3", "max_containers=2"]),
        ({"buffer_containers": -2}, ["buffer_containers=-2"]),
        ({"spare_containers": -1}, ["spare_containers=-1", "at least 0"]),
        ({"single_use_containers": 1}, ["single_use_containers=1", "True or False"]),
        ({"enable_memory_snapshot": "yes"}, ["enable_memory_snapshot='yes'"]),
        ({"retries": -1}, ["retries=-1", "0 to 10"]),
        ({"retries": 11}, ["retries=11"]),
        ({"retries": "2"}, ["retries='2'", "Retries"]),
        ({"cpu": 0}, ["cpu=0"]),
        ({"memory": 0.5}, ["memory=0.5", "MiB"]),
        ({"gpu": "H1000"}, ["gpu='H1000'", "did you mean 'H100'"]),
        ({"gpu_memory": 4000}, ["gpu_memory=4000", "gpu='any'"]),
        ({"gpu": "any", "gpu_priority": 200}, ["gpu_priority=200", "-100 to 100"]),
        ({"image": "debian"}, ["image", "debian", "rekindle.Image"]),
        ({"schedule": object()}, ["schedule", "rekindle.Cron"]),
        ({"volumes": {"data": 1}}, ["volumes", "absolute path"]),
        ({"env": {"A": 1}}, ["env['A']", "int"]),
        ({"env": {"A=B": "x"}}, ["'A=B'"]),
        ({"secrets": ["x"]}, ["secrets", "rekindle.Secret"]),
        ({"include_source": "no"}, ["include_source='no'"]),
    ],
)
@pytest.mark.parametrize("decorator", ["function", "cls"])
def test_a_wrong_argument_is_named_with_its_value_and_range(
    decorator: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InvalidError) as caught:
        getattr(make(), decorator)(**options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("decorator", ["function", "cls"])
def test_the_limits_themselves_are_accepted(decorator: str) -> None:
    for options in (
        {"timeout": 1},
        {"timeout": 86_400},
        {"scaledown_window": 2},
        {"scaledown_window": 3600},
        {"min_containers": 2, "max_containers": 2},
        {"retries": 10},
        {"retries": rekindle.Retries(max_retries=0)},
        {"cpu": 0.5, "memory": 128, "gpu": None},
        {"gpu": ["H100:2", "any:2"], "gpu_priority": 3},
        {"gpu": "L4", "gpu_memory": 8192},
    ):
        getattr(make(), decorator)(**options)


@pytest.mark.parametrize("decorator", ["function", "cls"])
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name(decorator: str) -> None:
    with pytest.raises(TypeError, match=r"'timout'; did you mean 'timeout'\?"):
        getattr(make(), decorator)(timout=3)


def test_an_unknown_keyword_of_app_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="did you mean 'secrets'"):
        rekindle.App("x", secret=[])
    with pytest.raises(InvalidError, match=r"image=1 must be a rekindle\.Image"):
        rekindle.App("x", image=1)


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, 5])
def test_a_bad_app_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidError, match="the app name"):
        rekindle.App(name)


def test_a_forgotten_pair_of_parentheses_is_named() -> None:
    app = make()
    with pytest.raises(InvalidError, match=r"write @app\.function\(\)"):

        @app.function
        def f() -> None: ...

    with pytest.raises(InvalidError, match=r"write @app\.cls\(\)"):

        @app.cls
        class C: ...

    with pytest.raises(InvalidError, match=r"write @app\.local_entrypoint\(\)"):

        @app.local_entrypoint
        def main() -> None: ...

    for hook in (rekindle.enter, rekindle.exit, rekindle.method):
        with pytest.raises((InvalidError, TypeError)):
            hook(lambda self: None)  # type: ignore[operator]


def test_what_is_not_a_function_is_refused() -> None:
    app = make()
    with pytest.raises(InvalidError, match=r"on class C; use @app\.cls"):

        @app.function()
        class C: ...

    with pytest.raises(InvalidError, match="lambda"):
        app.function()(lambda: None)

    with pytest.raises(InvalidError, match="decorated already"):

        @app.function()
        @app.function()
        def twice() -> None: ...

    with pytest.raises(InvalidError, match=r"a method: use @app\.cls"):

        class D:
            @app.function()
            def m(self) -> None: ...

    with pytest.raises(InvalidError, match="staticmethod"):

        class E:
            @app.function()
            @staticmethod
            def m() -> None: ...


def test_generators_are_known_by_their_yield_or_by_what_is_said_of_them() -> None:
    app = make()

    @app.function()
    def g() -> Any:
        yield 1

    @app.function()
    async def ag() -> Any:
        yield 1

    @app.function(is_generator=True)
    def i() -> Any:
        return iter((1, 2))

    @app.function()
    def f() -> Any: ...

    @app.cls()
    class C:
        @rekindle.method()
        def m(self) -> Any:
            yield 1

        @rekindle.method(is_generator=True)
        def i(self) -> Any:
            return iter(())

        @rekindle.method()
        def f(self) -> Any: ...

    made: Any = C
    assert [one.is_generator for one in (g, ag, i, f)] == [True, True, True, False]
    assert [one.is_generator for one in (made().m, made().i, made().f)] == [True, True, False]


def test_what_generators_cannot_do_is_refused_with_what_can() -> None:
    app = make()

    @app.function()
    def g(n: int) -> Any:
        yield n

    @app.function()
    def f(n: int) -> int:
        return n

    ways: list[Any] = [g.remote, g.spawn, g.map, g.starmap, g.for_each, g.spawn_map]
    for way in ways:
        with pytest.raises(InvalidError, match=r"iterate over g\.remote_gen\(...\)"):
            way([1])
    with pytest.raises(InvalidError, match=r"f\.remote\(...\) gives its value"):
        f.remote_gen(1)
    with pytest.raises(InvalidError, match=r"cannot have retries=: .*and leave retries= out"):

        @app.function(retries=1)
        def again() -> Any:
            yield 1

    apart = r"D\.m is a generator, which cannot have retries=: .*and put it into a class of its own"
    with pytest.raises(InvalidError, match=apart):

        @app.cls(retries=1)
        class D:
            @rekindle.method()
            def value(self) -> int:
                return 1

            @rekindle.method()
            def m(self) -> Any:
                yield 1

    with pytest.raises(InvalidError, match="is_generator=False"):

        @app.function(is_generator=False)
        def no() -> Any:
            yield 1

    with pytest.raises(InvalidError, match="an async function without a yield"):

        @app.function(is_generator=True)
        async def whole() -> Any: ...

    with pytest.raises(InvalidError, match="a hook runs once"):

        class E:
            @rekindle.enter()
            def begin(self) -> Any:
                yield


def test_a_name_can_be_given_once() -> None:
    app = make()

    @app.function(name="f")
    def one() -> None: ...

    with pytest.raises(InvalidError, match="has 'f' already"):

        @app.function()
        def f() -> None: ...

    with pytest.raises(InvalidError, match="has 'f' already"):

        @app.local_entrypoint(name="f")
        def main() -> None: ...

    with pytest.raises(InvalidError, match=r"has 'f' already.*must differ; rename the class"):

        @app.cls()
        class f:
            @rekindle.method()
            def grow(self) -> None: ...

    with pytest.raises(InvalidError, match="must not have a dot"):
        app.function(name="a.b")


AGAIN = """
import rekindle

app, whole = rekindle.App("again"), rekindle.App("whole")

@app.function()
def f() -> int:
    return 1

whole.include(app)
former = f

@app.function()
def f() -> int:
    return 2

@app.cls()
class C: ...

@app.cls()
class C: ...
"""


def _module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> ModuleType:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"declares_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so that it goes with the test
    del sys.modules[name]
    return importlib.import_module(name)


def test_a_function_of_a_module_that_is_declared_again_takes_the_place_of_the_former(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="already.*takes its place") as warned:
        made = _module(monkeypatch, tmp_path, AGAIN)
    assert {one.filename for one in warned} == {made.__file__}
    lines = Path(str(made.__file__)).read_text().splitlines()
    assert [lines[one.lineno - 1] for one in warned] == ["@app.function()", "@app.cls()"]
    for app in (made.app, made.whole):
        assert app.registered["f"].local() == 2
        assert app.declarations["f"] is made.f._declaration
    assert "C" in made.app.registered and made.former.local() == 1


@pytest.mark.parametrize(
    "other",
    ["@app.function(name='f')\ndef g(): ...\n", "@app.cls()\nclass f: ...\n"],
)
def test_what_is_another_one_takes_no_place_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: str
) -> None:
    first = "import rekindle\napp = rekindle.App('collides')\n@app.function()\ndef f(): ...\n"
    with pytest.raises(InvalidError, match="has 'f' already"):
        _module(monkeypatch, tmp_path, first + other)


def test_hooks_in_wrong_places_are_refused() -> None:
    app = make()
    with pytest.raises(InvalidError, match="belongs into a class"):

        @app.function()
        @rekindle.enter()
        def f() -> None: ...

    with pytest.raises(InvalidError, match="swap the order"):

        @rekindle.method()
        @app.function()
        def g() -> None: ...

    with pytest.raises(InvalidError, match="marked 'enter' already"):

        class C:
            @rekindle.method()
            @rekindle.enter()
            def m(self) -> None: ...

    with pytest.raises(InvalidError, match="staticmethod"):

        class D:
            @rekindle.method()
            @staticmethod
            def m() -> None: ...

    with pytest.raises(InvalidError, match=r"enter\(snap\)=1"):
        rekindle.enter(snap=1)  # type: ignore[arg-type]


def test_a_snapshot_hook_needs_snapshots() -> None:
    with pytest.raises(InvalidError, match=r"C\.load has .*enable_memory_snapshot=True"):

        @make().cls()
        class C:
            @rekindle.enter(snap=True)
            def load(self) -> None: ...


def test_what_an_app_gives_its_functions_goes_to_those_that_it_includes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_VOLUMES", str(tmp_path))
    parts = rekindle.App("parts")
    parts.function(serialized=True)(_price)
    volume = rekindle.Volume.from_name("shelf", create_if_missing=True)
    secret = rekindle.Secret.from_dict({"A": "1"}, in_snapshot=True)
    whole = rekindle.App("whole", secrets=[secret], volumes={"/shelf": volume}).include(parts)
    (made,) = registration.request_for(whole, "whole", "ap-1", None, lambda: tmp_path).functions
    assert made.secrets == {"A": "1"} and list(made.spec.secrets_in_snapshot) == ["A"]
    assert [mount.path for mount in made.spec.volumes] == [b"/shelf"]


def test_a_name_with_other_letters_is_told_which_ones_it_may_have() -> None:
    with pytest.raises(InvalidError, match="'größe' must be 1 to 64 characters out of ASCII"):
        rekindle.App("größe")
