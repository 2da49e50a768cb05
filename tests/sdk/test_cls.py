"""Classes: parameters, hooks in their order, instances."""

from __future__ import annotations

import asyncio
import copy
import threading
from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError
from rekindle.execution.declared import hooks_of
from rekindle.wire.class_parameters import pack as pack_parameters

app = rekindle.App("classes")
trace: list[str] = []


class Base:
    @rekindle.enter()
    def first(self) -> None:
        trace.append("first")

    @rekindle.exit()
    def bye(self) -> None: ...


@app.cls(enable_memory_snapshot=True)
class Thing(Base):
    """A thing."""

    kind: str = rekindle.parameter()
    size: int = rekindle.parameter(default=3)
    constant = 42

    @rekindle.enter(snap=True)
    def load(self) -> None:
        trace.append("load")
        self.loaded = self.size

    @rekindle.enter()
    def second(self) -> None:
        trace.append("second")

    @rekindle.method()
    def total(self, x: int) -> int:
        return self.helper(x) + self.other(0)

    @rekindle.method()
    def other(self, x: int) -> int:
        return x

    def helper(self, x: int) -> int:
        return self.loaded + x


def test_local_calls_run_the_enter_hooks_once_in_order() -> None:
    trace.clear()
    thing = Thing(kind="a", size=5)
    assert thing.total.local(2) == 7
    assert thing.total.local(3) == 8
    assert trace == ["load", "first", "second"]


def test_local_calls_of_several_threads_have_one_object() -> None:
    app = rekindle.App("threads")
    others: list[threading.Thread] = []
    entered: list[int] = []
    used: list[int] = []

    @app.cls()
    class Slow:
        def __new__(cls) -> Slow:
            if not others:  # another thread calls while the object is being made
                others.append(threading.Thread(target=lambda: used.append(slow.who.local())))
                others[0].start()
                others[0].join(0.2)
            return object.__new__(cls)

        @rekindle.enter()
        def start(self) -> None:
            entered.append(id(self))

        @rekindle.method()
        def who(self) -> int:
            return id(self)

    slow: Any = Slow()
    used.append(slow.who.local())
    others[0].join()
    assert len(entered) == 1 and used == entered * 2


def test_hooks_are_listed_parents_first() -> None:
    found = hooks_of(Thing.__wrapped__)
    assert found["enter_snap"] == ["load"]
    assert found["enter"] == ["first", "second"]
    assert found["exit"] == ["bye"]
    assert set(found["methods"]) == {"total", "other"}


def test_a_name_that_a_subclass_redefines_without_a_mark_is_no_hook() -> None:
    class Child(Base):
        def first(self) -> None: ...

    assert hooks_of(Child)["enter"] == []


def test_attributes_of_the_class_and_of_instances_can_be_read() -> None:
    assert Thing.constant == 42
    assert Thing(kind="a").size == 3
    assert Thing(kind="a").kind == "a"
    assert Thing(kind="a").helper is not None
    assert Thing.__doc__ == "A thing."


def test_what_an_enter_hook_sets_can_be_read_after_a_local_call() -> None:
    thing: Any = Thing(kind="a", size=5)
    with pytest.raises(AttributeError, match="has no method 'loaded'"):
        thing.loaded  # noqa: B018
    assert thing.total.local(2) == 7
    assert thing.loaded == 5
    thing.total.local(1)
    assert not hasattr(Thing(kind="a", size=5), "loaded")  # each instance has its own


def test_a_method_whose_name_begins_with_an_underscore_is_called_as_any_other(
    controller: Any,
) -> None:
    app = rekindle.App("private")

    @app.cls()
    class Private:
        @rekindle.method()
        def _double(self, x: int) -> int:
            return self._plain(x) + x

        def _plain(self, x: int) -> int:
            return x

    made: Any = Private()
    assert made._double.local(2) == 4 and made._plain(3) == 3
    with app.run():
        assert made._double.remote(3) == 6
    with pytest.raises(AttributeError, match="no method '_doble'; did you mean '_double'"):
        made._doble  # noqa: B018
    named: Any = rekindle.Cls.from_name("elsewhere", "Private")()
    assert named._double.name == "Private._double"
    for instance in (made, named):
        for protocol in ("__array__", "_repr_html_"):
            assert not hasattr(instance, protocol)
        assert type(copy.copy(instance)) is type(made)


def test_a_method_of_the_class_itself_asks_for_an_instance() -> None:
    with pytest.raises(AttributeError, match="Did you forget to instantiate the class first"):
        Thing.total.remote(1)


def test_an_unknown_method_is_named_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no method 'totl'; did you mean 'total'"):
        Thing(kind="a").totl  # noqa: B018


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "needs values for: kind"),
        ((), {"kind": "a", "sise": 1}, "'sise'; did you mean 'size'"),
        (("a", 1, 2), {}, "takes 2 arguments, 3 were given"),
        (("a",), {"kind": "b"}, "two values for 'kind'"),
        ((), {"kind": 5}, "must be of type str"),
        ((), {"kind": "a", "size": True}, "must be of type int"),
    ],
)
def test_wrong_parameter_values_are_type_errors(args: Any, kwargs: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Thing(*args, **kwargs)


def test_of_one_parameter_too_few_are_said_to_be_one() -> None:
    class Single:
        kind: str = rekindle.parameter()

    with pytest.raises(TypeError, match="takes 1 argument, 2 were given"):
        rekindle.App("single").cls(serialized=True)(Single)("a", 1)


def test_parameters_can_be_given_by_position() -> None:
    assert Thing("a", 9).size == 9


def test_equal_values_give_equal_bytes_whatever_objects_they_are() -> None:
    name = "model"
    one = pack_parameters("C", {"name": name, "other": name})
    two = pack_parameters("C", {"other": "".join(["mo", "del"]), "name": "".join(["m", "odel"])})
    assert one == two
    assert pack_parameters("C", {}) == b""


def test_large_parameters_are_refused() -> None:
    with pytest.raises(InvalidError, match="16384"):
        pack_parameters("C", {"x": "y" * 20_000})


def test_a_class_with_an_init_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"__init__.*parameter\(\).*enter"):

        @rekindle.App("x").cls()
        class C:
            def __init__(self) -> None: ...

    class Parent:
        def __init__(self) -> None: ...

    with pytest.raises(InvalidError, match=r"Parent\.__init__"):

        @rekindle.App("x").cls()
        class D(Parent): ...


def test_parameters_must_be_annotated_with_a_plain_type() -> None:
    with pytest.raises(InvalidError, match=r"C\.x must be annotated"):

        @rekindle.App("x").cls()
        class C:
            x = rekindle.parameter()

    with pytest.raises(InvalidError, match="str, int, bytes or bool"):

        @rekindle.App("x").cls()
        class D:
            x: float = rekindle.parameter(default=1.0)

    with pytest.raises(InvalidError, match=r"the default of E\.x is 'a'"):

        @rekindle.App("x").cls()
        class E:
            x: int = rekindle.parameter(default="a")


def test_what_is_no_class_is_refused() -> None:
    with pytest.raises(InvalidError, match="no class"):
        rekindle.App("x").cls()(lambda: None)  # type: ignore[arg-type]


def test_async_hooks_and_methods_run_locally() -> None:
    @rekindle.App("x").cls()
    class C:
        @rekindle.enter()
        async def load(self) -> None:
            self.value = 5

        @rekindle.method()
        async def slow(self) -> int:
            return self.value

        @rekindle.method()
        def quick(self) -> int:
            return self.value

    assert asyncio.run(C().slow.local()) == 5
    assert C().quick.local() == 5


def test_remote_methods_share_an_instance_and_its_parameters(controller: Any) -> None:
    with app.run():
        assert Thing(kind="a", size=10).total.remote(1) == 11
        assert Thing(kind="a").total.remote(1) == 4
        assert list(Thing(kind="a").other.map([1, 2])) == [1, 2]
    methods = {i.method for r in controller.submitted for i in r.inputs}
    assert methods == {"total", "other"}
    assert len({r.params for r in controller.submitted}) == 2


def test_async_calls_at_the_same_time_wait_for_the_same_hooks() -> None:
    app = rekindle.App("together")

    @app.cls()
    class Slow:
        @rekindle.enter()
        async def load(self) -> None:
            self.loads = getattr(self, "loads", 0) + 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.ready = True

        @rekindle.method()
        async def look(self) -> tuple[int, bool]:
            return self.loads, self.ready

    async def both() -> list[tuple[int, bool]]:
        made = Slow()
        return await asyncio.gather(made.look.local(), made.look.local())

    assert asyncio.run(both()) == [(1, True), (1, True)]
