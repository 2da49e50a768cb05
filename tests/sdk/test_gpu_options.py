"""What a decorator may be given of GPU snapshots and spares, and which hooks run with a GPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError
from rekindle.execution.declared import hooks_of
from rekindle.sdk import options

PAGE = Path(__file__).parents[2] / "docs" / "gpu-starts.md"
GPU: dict[str, Any] = {"gpu": "H100", "enable_memory_snapshot": True}


def spec(**given: Any) -> Any:
    return options.check("@app.function()", given).spec


def test_gpu_snapshots_are_off_unless_asked_for() -> None:
    assert not spec(**GPU).enable_gpu_snapshot
    assert not spec(**GPU, experimental_options={}).enable_gpu_snapshot
    assert not spec(**GPU, enable_gpu_snapshot=False).enable_gpu_snapshot


@pytest.mark.parametrize(
    "spelling",
    [{"enable_gpu_snapshot": True}, {"experimental_options": {"enable_gpu_snapshot": True}}],
)
def test_both_spellings_ask_for_them(spelling: dict[str, Any]) -> None:
    assert spec(**GPU, **spelling).enable_gpu_snapshot


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gpu": "H100", "enable_gpu_snapshot": True}, "needs enable_memory_snapshot=True"),
        ({"enable_memory_snapshot": True, "enable_gpu_snapshot": True}, "needs gpu="),
        ({**GPU, "enable_gpu_snapshot": 1}, "enable_gpu_snapshot"),
        ({**GPU, "experimental_options": {"fast": True}}, "fast means nothing here"),
        ({**GPU, "experimental_options": ["enable_gpu_snapshot"]}, "must be a dict"),
        (
            {
                **GPU,
                "enable_gpu_snapshot": False,
                "experimental_options": {"enable_gpu_snapshot": True},
            },
            "both True and False",
        ),
        ({"gpu": "H100", "gpu_spares": 1}, "needs gpu= and enable_memory_snapshot=True"),
        ({**GPU, "gpu_spares": -1}, "gpu_spares"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(words)):
        spec(**given)


def test_hooks_go_by_where_they_run() -> None:
    class Model:
        @rekindle.enter(snap=True)
        def load(self) -> None: ...

        @rekindle.enter(snap="gpu")
        def to_gpu(self) -> None: ...

        @rekindle.enter()
        def connect(self) -> None: ...

    found = hooks_of(Model)
    assert [found[name] for name in ("enter_snap", "enter_gpu", "enter")] == [
        ["load"],
        ["to_gpu"],
        ["connect"],
    ]
    wrong: Any = "cpu"
    with pytest.raises(InvalidError, match="snap"):
        rekindle.enter(snap=wrong)


def test_the_classes_of_the_page_can_be_declared() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    declared = [one for one in blocks if "@app.cls" in one]
    assert len(declared) == 2
    for number, block in enumerate(declared):
        names = {"app": rekindle.App(f"page{number}"), "rekindle": rekindle}
        exec(compile(block, str(PAGE), "exec"), names)
        assert names["Model"]
