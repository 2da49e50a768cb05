"""Rows on apps, classes, decorators, names and errors: what is decided before anything runs."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

import rekindle as modal
from rekindle.exception import Error, InvalidError, UnknownNameError


def declared(**options: Any) -> modal.Function[..., Any]:
    @modal.App("declared").function(**options)
    def f(x: int = 1) -> int:
        return x

    return f


def plain() -> None: ...


class TestFunction:
    def test_it_takes_the_options_that_mean_something_here(self) -> None:
        options: dict[str, Any] = {
            "name": "named",
            "env": {"A": "1", "N": None},
            "secrets": [modal.Secret.from_dict({"S": "1"})],
            "volumes": {},
            "cpu": (0.5, 2),
            "memory": 128,
            "gpu": None,
            "min_containers": None,
            "max_containers": 2,
            "buffer_containers": None,
            "scaledown_window": 2,
            "retries": modal.Retries(max_retries=2, backoff_coefficient=1.0),
            "timeout": 5,
            "startup_timeout": None,
            "enable_memory_snapshot": False,
            "single_use_containers": True,
            "include_source": None,
            "serialized": True,
            "is_generator": None,
            "schedule": None,
        }
        f = declared(**options)
        assert f.name == "named" and f.local(3) == 3

    @pytest.mark.parametrize("nothing", [None, ()])
    def test_secrets_and_volumes_may_be_none(self, nothing: Any) -> None:
        app = modal.App("none", secrets=nothing, volumes=None)
        image = modal.Image.debian_slim().run_commands("true", secrets=nothing, volumes=None)
        given: dict[str, Any] = {"secrets": nothing, "volumes": None}
        f = app.function(**given)(plain)
        assert f.with_options(**given)._declaration.options == f._declaration.options
        app.cls(**given)(type("C", (), {}))
        assert f._declaration.options is not None and f._declaration.options.secrets == ()
        step = image.run_function(plain, **given).spec().steps[-1]
        assert step.secrets == step.named_secrets == ()

    def test_times_are_those_of_modal(self) -> None:
        checked = declared()._declaration.options
        assert checked is not None
        assert checked.spec.timeout_s == checked.spec.startup_timeout_s == 300
        assert checked.spec.scaledown_window_s == 60

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"timeout": None}, "timeout=None"),
            ({"timeout": 0}, "from 1 to 86400"),
            ({"scaledown_window": 1}, "from 2 to 3600"),
            ({"min_containers": 3, "max_containers": 2}, "must not be more than"),
            ({"retries": modal.Retries}, "retries"),
            ({"cloud": "aws"}, "leave it out"),
            ({"region": "eu"}, "leave it out"),
            ({"routing_region": "eu"}, "leave it out"),
            ({"nonpreemptible": True}, "leave it out"),
            ({"i6pn": True}, "leave it out"),
            ({"image": "debian"}, "must be a rekindle.Image"),
            ({"network_file_systems": {}}, "rekindle.Volume"),
            ({"keep_warm": 1}, "min_containers="),
        ],
    )
    def test_a_wrong_option_is_refused_at_import(self, given: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidError, match=words):
            declared(**given)

    def test_its_pool_is_found_where_its_class_has_one(self) -> None:
        method: Any = made().m
        for attempt in (
            lambda: method.autoscaler,
            lambda: method.with_options(timeout=1),
            lambda: method.with_concurrency(max_inputs=2),
            lambda: method.with_batching(max_batch_size=2, wait_ms=1),
        ):
            with pytest.raises(InvalidError, match=r"is a method.*Use C"):
                attempt()


def made() -> Any:
    @modal.App("classes").cls()
    class C:
        size: int = modal.parameter(default=2)

        @modal.method()
        def m(self) -> int:
            return self.size

        @modal.method()
        def other(self) -> int:
            return self.size

    cls: Any = C
    return cls()


class TestVariants:
    def test_what_shares_runners_in_two_ways_is_refused(self) -> None:
        f = declared()
        shared = f.with_concurrency(max_inputs=4, target_inputs=2)
        assert shared.name == f.name and shared.local(4) == 4
        with pytest.raises(InvalidError, match="must not be more than max_inputs=2"):
            f.with_concurrency(max_inputs=2, target_inputs=3)
        with pytest.raises(InvalidError, match="one of them out"):
            lists().with_batching(max_batch_size=2, wait_ms=1).with_concurrency(max_inputs=2)
        with pytest.raises(InvalidError, match="single_use_containers"):
            declared(single_use_containers=True).with_concurrency(max_inputs=2)
        with pytest.raises(InvalidError, match="single_use_containers"):
            shared.with_options(single_use_containers=True)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"min_containers": 1}, "update_autoscaler"),
            ({"keep_warm": 1}, "update_autoscaler"),
            ({"allow_concurrent_inputs": 2}, "with_concurrency"),
            ({"max_batch_size": 2}, "with_batching"),
            ({"image": None}, "the declaration's"),
            ({"schedule": None}, "the declaration's"),
            ({"enable_memory_snapshot": True}, "the declaration's"),
        ],
    )
    def test_what_a_variant_cannot_have_says_where_it_is_said(
        self, given: dict[str, Any], words: str
    ) -> None:
        for what in (declared(), type_of(made())):
            with pytest.raises(TypeError, match=words):
                what.with_options(**given)

    def test_an_instance_says_that_its_class_has_variants(self) -> None:
        with pytest.raises(AttributeError, match=r"C\.with_options\(...\)"):
            made().with_options(timeout=1)

    def test_what_cannot_be_batched_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="'x' has a default"):
            declared().with_batching(max_batch_size=2, wait_ms=1)
        with pytest.raises(InvalidError, match="has the methods m, other"):
            type_of(made()).with_batching(max_batch_size=2, wait_ms=1)
        with pytest.raises(InvalidError, match="generator"):
            generator().with_batching(max_batch_size=2, wait_ms=1)
        for wrong in ({"max_batch_size": 0, "wait_ms": 1}, {"max_batch_size": 1, "wait_ms": -1}):
            with pytest.raises(InvalidError, match="must be"):
                lists().with_batching(**wrong)


def lists() -> modal.Function[..., Any]:
    @modal.App("lists").function()
    def f(x: list[int]) -> list[int]:
        return x

    return f


def generator() -> modal.Function[..., Any]:
    @modal.App("generator").function()
    def f() -> Any:
        yield 1

    return f


def type_of(instance: Any) -> Any:
    return modal.Cls(instance._binding.declaration)


class TestApp:
    def test_it_runs_neither_while_a_module_is_imported_nor_on_another_machine(self) -> None:
        app = modal.App("elsewhere")
        wrong: Any = {"client": object()}
        with pytest.raises(InvalidError, match="REKINDLE_DIR"):
            app.run(**wrong)
        with pytest.raises(InvalidError, match="REKINDLE_DIR"):
            app.deploy(**wrong)
        for look, names in (
            (modal.App.lookup, ["a"]),
            (modal.Function.from_name, ["a", "f"]),
            (modal.Cls.from_name, ["a", "f"]),
        ):
            look_up: Any = look
            with pytest.raises(InvalidError, match="no clients of their own"):
                look_up(*names, **wrong)
            with pytest.raises(InvalidError, match="environment name 'a b'"):
                look_up(*names, environment_name="a b")

    def test_an_entrypoint_is_sync_or_async_and_its_name_is_its_own(self) -> None:
        app = modal.App("entrypoints")

        @app.local_entrypoint()
        async def main(n: int = 1) -> int:
            return n

        assert asyncio.run(main(3)) == 3
        with pytest.raises(InvalidError, match="'main' already"):

            @app.local_entrypoint(name="main")
            def again() -> None: ...

    def test_a_class_is_instantiated_first(self) -> None:
        with pytest.raises(AttributeError, match="Did you forget to instantiate the class first"):
            _ = type_of(made()).m

    def test_names_are_those_that_modal_takes(self) -> None:
        for name in ("a" * 64, "A-b_c.9"):
            assert modal.App(name).name == name
        for name in ("a" * 65, "a b", ""):
            with pytest.raises(InvalidError, match="app name"):
                modal.App(name)


class TestClass:
    def test_parameters_are_plain_and_annotated(self) -> None:
        app = modal.App("parameters")
        with pytest.raises(InvalidError, match="str, int, bytes or bool"):

            @app.cls()
            class Wrong:
                sizes: list[int] = modal.parameter()

        with pytest.raises(InvalidError, match="__init__"):

            @app.cls()
            class Init:
                def __init__(self) -> None: ...

        assert made().size == 2

    def test_one_that_cannot_be_given_is_an_attribute_of_any_type(self) -> None:
        @modal.App("attributes").cls()
        class Model:
            name: str = modal.parameter()
            loaded: dict[str, int] = modal.parameter(init=False)
            seen: list[int] | None = modal.parameter(default=None, init=False)

            @modal.method()
            def early(self) -> dict[str, int]:
                return self.loaded

            @modal.method()
            def load(self) -> tuple[dict[str, int], list[int] | None]:
                self.loaded = {self.name: 1}
                return self.loaded, self.seen

        model: Any = Model(name="a")  # type: ignore[call-arg]
        with pytest.raises(AttributeError, match=r"Model\.loaded is .* has no value yet: set it"):
            model.early.local()
        assert model.load.local() == ({"a": 1}, None)
        with pytest.raises(TypeError, match="unexpected keyword argument 'loaded'"):
            Model(name="a", loaded={})  # type: ignore[call-arg]

    def test_a_hook_for_snapshots_needs_snapshots(self) -> None:
        with pytest.raises(InvalidError, match="enable_memory_snapshot=True"):

            @modal.App("snap").cls()
            class Wrong:
                @modal.enter(snap=True)
                def load(self) -> None: ...

    @pytest.mark.parametrize(
        ("above", "below"),
        [
            (modal.method, modal.enter),
            (modal.enter, modal.method),
            (modal.exit, modal.method),
            (modal.enter, modal.exit),
        ],
    )
    def test_a_method_is_one_thing(self, above: Any, below: Any) -> None:
        with pytest.raises(InvalidError, match="can have one of enter, exit and method"):

            class Wrong:
                @above()
                @below()
                def both(self) -> None: ...

    @pytest.mark.parametrize(
        "decorator",
        [
            modal.method(),
            modal.enter(),
            modal.exit(),
            modal.concurrent(max_inputs=2),
            modal.batched(max_batch_size=2, wait_ms=1),
        ],
    )
    def test_decorators_stand_under_that_of_the_app(self, decorator: Any) -> None:
        with pytest.raises(InvalidError, match="swap the order"):
            decorator(declared())
        with pytest.raises(InvalidError, match="swap the order"):
            decorator(type_of(made()))


class TestCall:
    def test_from_id_asks_nobody(self) -> None:
        call = modal.FunctionCall.from_id("fc-1")
        assert call.object_id == "fc-1" and modal.FunctionCall.from_id("fc-1", None)
        with pytest.raises(InvalidError, match="fc-"):
            modal.FunctionCall.from_id("ap-1")
        for name in ("get", "iter", "cancel", "num_inputs", "get_call_graph"):
            assert callable(getattr(call, name).aio)

    def test_parameters_have_the_names_of_modal_s(self) -> None:
        def names(method: Any) -> list[str]:
            return [
                name
                for name in inspect.signature(method._body).parameters
                if name not in ("self", "caller")
            ]

        f, call = declared(), modal.FunctionCall.from_id("fc-1")
        many = ["iterators", "kwargs", "order_outputs", "return_exceptions"]
        many.append("wrap_returned_exceptions")
        assert names(f.map) == many
        assert names(f.starmap) == ["input_iterator", *many[1:]]
        assert names(f.for_each) == ["iterators", "kwargs", "ignore_exceptions"]
        assert names(f.spawn_map) == names(f.experimental_spawn_map) == ["iterators", "kwargs"]
        assert names(call.get) == ["timeout", "index"]
        assert names(call.iter) == ["start", "end"]
        assert names(call.cancel) == ["terminate_containers"]


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "bases"),
        [
            ("InvalidError", ["Error"]),
            ("NotFoundError", ["Error"]),
            ("AlreadyExistsError", ["Error"]),
            ("AuthError", ["Error"]),
            ("ConnectionError", ["Error"]),
            ("VersionError", ["Error"]),
            ("ServiceError", ["Error"]),
            ("ResourceExhaustedError", ["Error"]),
            ("ExecutionError", ["Error"]),
            ("SerializationError", ["Error"]),
            ("DeserializationError", ["Error"]),
            ("RemoteError", ["Error"]),
            ("InternalFailure", ["Error"]),
            ("RequestSizeError", ["Error"]),
            ("TimeoutError", ["Error"]),
            ("FunctionTimeoutError", ["TimeoutError", "Error"]),
            ("OutputExpiredError", ["TimeoutError", "Error"]),
            ("InputCancellation", []),
        ],
    )
    def test_a_type_is_what_programs_catch_it_as(self, name: str, bases: list[str]) -> None:
        kind = getattr(modal.exception, name)
        for base in bases:
            assert issubclass(kind, getattr(modal.exception, base))
        assert not issubclass(kind, (TimeoutError, ConnectionError))  # the builtin ones
        assert issubclass(kind, Exception) is bool(bases)

    def test_the_root_is_a_name_of_the_package(self) -> None:
        assert modal.Error is Error

    def test_other_names_for_the_same_can_be_caught(self) -> None:
        names: Any = modal.exception
        assert names.PermissionDeniedError is names.AuthError
        assert names.InternalError is names.InternalFailure

    def test_what_is_never_raised_says_what_to_catch(self) -> None:
        with pytest.raises(UnknownNameError, match="catch ServiceError"):
            _ = modal.exception.LogsFetchError
        with pytest.raises(AttributeError) as caught:
            _ = modal.exception.NoSuchError
        assert type(caught.value) is AttributeError


class TestNamesThatAreNotHere:
    @pytest.mark.parametrize(
        "name",
        [
            *("Client", "Cluster", "NetworkFileSystem"),
            *("Probe", "Proxy", "Sandbox", "SandboxSnapshot", "SchedulerPlacement", "Server"),
            *("Tunnel", "Workspace", "clustered", "forward", "sessioned", "web_endpoint"),
            *("billing", "experimental", "Stub", "Mount", "SharedVolume", "build"),
        ],
    )
    def test_a_name_of_the_package_says_what_to_do(self, name: str) -> None:
        with pytest.raises(UnknownNameError, match=r"use |meanwhile: |leave it out"):
            getattr(modal, name)

    @pytest.mark.parametrize(
        ("what", "name", "words"),
        [
            (modal.App("members"), "server", "@app.cls"),
            (modal.App("members"), "get_dashboard_url", "rekindle top"),
            (declared(), "keep_warm", r"autoscaler\.update"),
            (declared(), "get_web_url", "your own HTTP server"),
            (declared(), "logs", "rekindle logs"),
            (modal.FunctionCall.from_id("fc-1"), "get_gen", "remote_gen"),
        ],
    )
    def test_an_attribute_says_what_to_use(self, what: Any, name: str, words: str) -> None:
        with pytest.raises(UnknownNameError, match=words):
            getattr(what, name)
        assert not hasattr(what, name)
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            _ = what.nonsense
