"""What was renamed or is still to come says what to write in its place."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("keep_warm", "min_containers="),
        ("concurrency_limit", "max_containers="),
        ("container_idle_timeout", "scaledown_window="),
        ("allow_concurrent_inputs", "@rekindle.concurrent"),
        ("checkpointing_enabled", "enable_memory_snapshot="),
        ("mounts", "include_source="),
    ],
)
def test_an_older_keyword_names_its_successor(old: str, new: str) -> None:
    with pytest.raises(InvalidError, match=new):
        rekindle.App("a").function(**{old: 1})
    with pytest.raises(InvalidError, match=new):
        rekindle.App("a").cls(**{old: 1})


def test_a_keyword_that_is_not_here_says_what_to_do() -> None:
    with pytest.raises(
        InvalidError, match=r"there is no network_file_systems=; use rekindle\.Volume"
    ):
        rekindle.App("a").function(network_file_systems={})


@pytest.mark.parametrize("name", ["asgi_app", "web_server"])
def test_a_name_to_come_says_so(name: str) -> None:
    with pytest.raises(AttributeError, match=f"rekindle.{name} is not there yet; meanwhile: "):
        getattr(rekindle, name)


@pytest.mark.parametrize("name", ["Proxy", "build", "Stub"])
def test_such_a_name_is_an_error_of_ours_that_hasattr_understands(name: str) -> None:
    with pytest.raises(rekindle.exception.UnknownNameError) as caught:
        getattr(rekindle, name)
    assert isinstance(caught.value, rekindle.exception.Error)
    assert isinstance(caught.value, AttributeError) and caught.value.name == name
    assert not hasattr(rekindle, name)
    assert getattr(rekindle, name, "none") == "none"


def test_a_name_that_means_nothing_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'") as caught:
        getattr(rekindle, "nonsense")  # noqa: B009
    assert type(caught.value) is AttributeError


def test_a_name_that_went_another_way_says_which() -> None:
    with pytest.raises(AttributeError, match=r"rekindle\.enter\(snap=True\)"):
        rekindle.build  # noqa: B018
    with pytest.raises(AttributeError, match=r"use rekindle\.App"):
        rekindle.Stub  # noqa: B018
    with pytest.raises(AttributeError, match=r"use subprocess inside a function"):
        rekindle.Sandbox  # noqa: B018


@pytest.mark.parametrize("name", ["Proxy", "Tunnel", "billing"])
def test_a_name_that_there_will_not_be_says_why(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"there is no rekindle\.{name}: .*; leave it out"):
        getattr(rekindle, name)


def test_a_function_with_parentheses_says_remote_or_local() -> None:
    @rekindle.App("a").function()
    def double(x: int) -> int:
        return 2 * x

    with pytest.raises(TypeError, match=r"double\.remote.*double\.local"):
        double(1)


@pytest.mark.parametrize(
    ("given", "cpu", "memory"),
    [
        ({"cpu": (1, 2), "memory": (512, 1024)}, (1, 2), (512, 1024)),
        ({"cpu": [1, 1], "memory": (512, 512)}, (1, 1), (512, 512)),
        ({"cpu": 0.5, "memory": 128}, (0.5, None), (128, None)),
        ({}, (None, None), (None, None)),
    ],
)
def test_cpu_and_memory_take_a_request_and_a_limit(
    given: dict[str, Any], cpu: tuple[float, float], memory: tuple[int, int]
) -> None:
    app = rekindle.App("a")

    @app.function(**given)
    def nothing() -> None:
        pass

    options = app.declarations["nothing"].options
    assert options is not None
    assert (options.spec.cpu, options.spec.cpu_limit) == cpu
    assert (options.spec.memory_mib, options.spec.memory_limit_mib) == memory


@pytest.mark.parametrize(
    "given",
    [
        {"cpu": (2, 1)},
        {"memory": (1, 2, 3)},
        {"cpu": ("a", 1)},
        {"cpu": (1, 2000)},
        {"memory": (0.5, 2)},
    ],
)
def test_a_wrong_pair_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match=next(iter(given))):
        rekindle.App("a").function(**given)


@pytest.mark.parametrize("kind", ["Function", "Cls", "Dict", "Queue", "Secret", "Volume"])
def test_the_former_lookup_of_a_class_says_from_name(kind: str) -> None:
    with pytest.raises(rekindle.exception.UnknownNameError, match=rf"{kind}\.from_name"):
        getattr(rekindle, kind).lookup  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(rekindle, kind).nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("asks", "kind", "said"),
    [
        ("from rekindle import Stub", ImportError, "'rekindle': there is no rekindle.Stub: use"),
        ("from rekindle import Mount", ImportError, "no rekindle.Mount: use image.add_local_dir"),
        ("from rekindle import Fucntion", ImportError, "'rekindle'; did you mean 'Function'?"),
        ("from rekindle import nothing_near", ImportError, "'nothing_near' from 'rekindle'"),
        ("from rekindle.exception import ClientClosed", ImportError, "raises no ClientClosed"),
        ("from rekindle.exception import StatrError", ImportError, "did you mean 'StartError'?"),
        ("rekindle.Stub", AttributeError, "there is no rekindle.Stub: use rekindle.App"),
        ("rekindle.Fucntion", AttributeError, "no attribute 'Fucntion'"),
        ("rekindle.exception.ClientClosed", AttributeError, "raises no ClientClosed"),
        ("rekindle.exception.StatrError", AttributeError, "no attribute 'StatrError'"),
    ],
    ids=lambda given: given if isinstance(given, str) and "." in given else "",
)
def test_a_name_that_is_not_here_is_told_at_the_programs_own_line(
    asks: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        exec(compile(asks, "program.py", "exec"), {"rekindle": rekindle})
    assert said in str(caught.value)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.filename for frame in frames] == [__file__, "program.py"]
