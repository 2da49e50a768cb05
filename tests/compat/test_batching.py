"""Dynamic batching as in the programs of others: what they print, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rekindle
from rekindle.exception import InvalidError
from tests.e2e.conftest import instance, shared  # noqa: F401 - fixtures
from tests.e2e.harness import Home

EXAMPLE = Path(__file__).parents[2] / "examples" / "batching.py"
GUIDE = EXAMPLE.parents[1] / "docs" / "batching.md"
SCORES = [f"{{'score': {sum(map(ord, text)) / (3 * ord('z'))}}}" for text in ("abc", "zyx", "pqr")]


def batch(*texts: str) -> str:
    return f"current batch:  {[{'text': text} for text in texts]}"


@pytest.fixture
def program(shared: Home) -> Path:  # noqa: F811
    """The example; what a lone item waits is for people to see."""
    return shared.script(EXAMPLE.read_text().replace("wait_ms=5000", "wait_ms=100"))


def test_calls_one_by_one_are_batches_of_one(shared: Home, program: Path) -> None:  # noqa: F811
    lines = shared.run(f"{program}::one_by_one").out.splitlines()
    said = [line for line in lines if line.startswith("called")]
    assert said == ["called res1", "called res2", "called res3"]
    assert [line for line in lines if line.startswith("current batch")] == [
        batch("abc"),
        batch("zyx"),
        batch("pqr"),
    ]
    assert lines[-3:] == SCORES


def test_calls_that_are_gathered_are_one_batch(shared: Home) -> None:  # noqa: F811
    text = EXAMPLE.read_text()
    # A batch begins when it is full, however long its items may wait.
    for old, new in (("size=5", "size=3"), ("wait_ms=5000", "wait_ms=600_000")):
        text = text.replace(old, new)
    lines = shared.run(f"{shared.script(text)}::at_once").out.splitlines()
    assert lines[:3] == ["called res1", "called res2", "called res3"]
    (its,) = [line for line in lines if line.startswith("current batch")]
    assert sorted(its) == sorted(batch("abc", "zyx", "pqr"))
    assert lines[-1] == f"[{', '.join(SCORES)}]"


def test_the_programs_of_the_guide_run(shared: Home) -> None:  # noqa: F811
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    first, second = [block for block in blocks if "local_entrypoint" in block]
    lines = shared.run(shared.script(first)).out.splitlines()
    assert lines.count("[2, 2, 2, 3]") == 1
    assert lines.count("2") == 3
    assert shared.run(shared.script(second)).out.splitlines() == ["who!", "what!", "why!"]


class TestConcurrent:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"max_inputs": 2, "target_inputs": 3}, "must not be more than max_inputs=2"),
            ({"max_inputs": 0}, "max_inputs"),
            ({"max_inputs": 2.5}, "max_inputs"),
        ],
    )
    def test_numbers_that_cannot_be_are_refused(self, given: dict[str, int], words: str) -> None:
        with pytest.raises(InvalidError, match=words):
            rekindle.concurrent(**given)

    def test_max_inputs_must_be_given(self) -> None:
        with pytest.raises(TypeError, match="max_inputs"):
            rekindle.concurrent()  # type: ignore[call-arg]

    def test_a_method_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="put it on the class"):

            class Wrong:
                @rekindle.concurrent(max_inputs=2)
                def method(self) -> None: ...

    def test_it_must_be_under_the_decorator_of_the_app(self) -> None:
        app = rekindle.App("order")
        with pytest.raises(InvalidError, match="swap the order"):

            @rekindle.concurrent(max_inputs=2)
            @app.function()
            def wrong() -> None: ...

    def test_a_runner_for_each_input_has_no_others_beside_it(self) -> None:
        app = rekindle.App("single")
        with pytest.raises(InvalidError, match="single_use_containers"):

            @app.function(single_use_containers=True)
            @rekindle.concurrent(max_inputs=2)
            def wrong() -> None: ...


class TestBatched:
    @pytest.mark.parametrize(
        "given",
        [
            {"max_batch_size": 0, "wait_ms": 1},
            {"max_batch_size": 1001, "wait_ms": 1},
            {"max_batch_size": 2, "wait_ms": -1},
            {"max_batch_size": 2, "wait_ms": 600_001},
        ],
    )
    def test_numbers_that_cannot_be_are_refused(self, given: dict[str, int]) -> None:
        with pytest.raises(InvalidError, match="must be"):
            rekindle.batched(**given)

    def test_a_default_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="'y' has a default"):

            @rekindle.batched(max_batch_size=2, wait_ms=1)
            def wrong(x: list[int], y: int = 1) -> list[int]:
                return x

    def test_a_generator_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="a generator"):

            @rekindle.batched(max_batch_size=2, wait_ms=1)
            def wrong(x: list[int]):  # type: ignore[no-untyped-def]
                yield x

    def test_a_class_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="put it on its method"):

            @rekindle.batched(max_batch_size=2, wait_ms=1)
            class Wrong: ...

    def test_another_method_beside_it_is_refused(self) -> None:
        app = rekindle.App("two")
        with pytest.raises(InvalidError, match="only method of its class, which has other"):

            @app.cls()
            class Wrong:
                @rekindle.batched(max_batch_size=2, wait_ms=1)
                def one(self, x: list[int]) -> list[int]:
                    return x

                @rekindle.method()
                def other(self) -> None: ...

    def test_both_decorators_are_refused(self) -> None:
        with pytest.raises(InvalidError, match="batched or concurrent already"):

            @rekindle.concurrent(max_inputs=2)
            @rekindle.batched(max_batch_size=2, wait_ms=1)
            def wrong(x: list[int]) -> list[int]:
                return x

        app = rekindle.App("both")
        with pytest.raises(InvalidError, match="leave one of them out"):

            @app.cls()
            @rekindle.concurrent(max_inputs=2)
            class Wrong:
                @rekindle.batched(max_batch_size=2, wait_ms=1)
                def one(self, x: list[int]) -> list[int]:
                    return x
