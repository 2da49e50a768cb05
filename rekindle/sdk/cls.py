"""Cls and its instances: what ``@app.cls()`` makes of a class. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from rekindle.exception import InvalidError, UnknownNameError, of_the_program
from rekindle.sdk import checks, class_parameters
from rekindle.sdk.binding import Binding
from rekindle.sdk.declaration import named
from rekindle.sdk.decorated import Declared
from rekindle.sdk.dual import dual
from rekindle.sdk.function import method_of
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.sdk.autoscaler import Autoscaler
    from rekindle.sdk.calls.callers import Caller
    from rekindle.sdk.declaration import Declaration
    from rekindle.sdk.options import PoolOptions, VariantOptions


@trims
class Cls(Declared):
    """A class whose methods run in runners. Instantiate it to get at them: ``Embedder().embed``."""

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        if declaration.raw is not None:
            self.__doc__ = declaration.raw.__doc__
            self.__wrapped__ = declaration.raw

    @classmethod
    def from_name(
        cls,
        app_name: str,
        name: str,
        *,
        version: int | None = None,
        environment_name: str | None = None,
        client: None = None,
    ) -> Cls:
        """A class of a deployed app; as ``Function.from_name``."""
        checks.of_this_instance("Cls.from_name", client=client)
        return Cls(named(app_name, name, "cls", version, environment_name))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """An instance, with values for the class's parameters. Nothing runs yet."""
        return Instance(Binding.of(self._declaration, args, kwargs))

    def with_options(self, **given: Unpack[VariantOptions]) -> Cls:
        """The same class with other options, and with runners of its own.

        As of a function (sdk/function.py): ``Model.with_options(gpu="H100")(size=7).run``.
        """
        from rekindle.sdk.variants import variant

        return Cls(variant(self._declaration, given))

    def with_concurrency(self, *, max_inputs: int, target_inputs: int | None = None) -> Cls:
        """The same class, as if it had ``@rekindle.concurrent``; as ``with_options``."""
        from rekindle.sdk.variants import concurrent_variant

        return Cls(concurrent_variant(self._declaration, max_inputs, target_inputs))

    def with_batching(self, *, max_batch_size: int, wait_ms: int) -> Cls:
        """The same class, as if its method had ``@rekindle.batched``; as ``with_options``."""
        from rekindle.sdk.variants import batched_variant

        return Cls(batched_variant(self._declaration, max_batch_size, wait_ms))

    def __getattr__(self, name: str) -> Any:
        declaration = self.__dict__.get("_declaration")
        if declaration is None or (name.startswith("__") and name.endswith("__")):
            raise of_the_program(AttributeError(name))
        if name in declaration.methods:
            raise of_the_program(
                AttributeError(
                    f"{declaration.name}.{name} is a method of an instance. "
                    f"Did you forget to instantiate the class first? {declaration.name}().{name}"
                )
            )
        if declaration.raw is None:
            raise of_the_program(
                AttributeError(
                    f"{declaration.name} has no attribute {name!r} in this process; if it is a "
                    f"method, instantiate the class first: {declaration.name}().{name}"
                )
            )
        return getattr(declaration.raw, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return Cls, (self._declaration,)


@trims
class Instance:
    """``Embedder(...)``: values for the parameters, and the methods to call."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    def __getattr__(self, name: str) -> Any:
        # What Python and notebooks look for begins and ends so, and is no method of anyone's.
        if name == "_binding" or (name.startswith("_") and name.endswith("_")):
            raise of_the_program(AttributeError(name))
        binding = self._binding
        declaration = binding.declaration
        methods = declaration.methods_at_hand()
        if name in binding.parameters:
            return binding.parameters[name]
        if methods is None or name in methods:  # not known here: its first call tells
            return method_of(binding, name)
        if binding.made_here is not None and hasattr(binding.made_here, name):
            return getattr(binding.made_here, name)  # its enter hooks may have set that
        if declaration.raw is None or not hasattr(declaration.raw, name):
            if name in ("with_options", "with_concurrency", "with_batching"):
                raise of_the_program(
                    AttributeError(
                        f"an instance of {declaration.name} has no {name!r}: its class has, "
                        f"{declaration.name}.{name}(...)(...)"
                    )
                )
            if name == "keep_warm":
                raise of_the_program(
                    UnknownNameError(
                        f"an instance of {declaration.name} has no 'keep_warm': use "
                        f"update_autoscaler(min_containers=...)"
                    )
                )
            near = checks.nearest(name, methods)
            known = ", ".join(sorted(methods)) or "none"
            raise of_the_program(
                AttributeError(
                    f"{declaration.name} has no method {name!r}{near or f' (methods: {known})'}"
                )
            )
        return getattr(binding.object(method_of), name)

    def __repr__(self) -> str:
        binding = self._binding
        values = ", ".join(f"{key}={value!r}" for key, value in binding.parameters.items())
        return f"<rekindle instance {binding.declaration.name}({values})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Instance, (self._binding,)

    @dual
    async def update_autoscaler(self, caller: Caller, **settings: Unpack[PoolOptions]) -> None:
        """As of a function (sdk/function.py), for the pool of this instance's parameters."""
        from rekindle.sdk import autoscaler

        binding = self._binding
        await autoscaler.update(caller, binding.declaration, binding.params, **settings)

    @property
    def autoscaler(self) -> Autoscaler:
        """As of a function (sdk/function.py), for the pool of this instance's parameters."""
        from rekindle.sdk.autoscaler import Autoscaler

        return Autoscaler(self._binding.declaration, self._binding.params)


def check_class(raw: Any) -> None:
    """Refuse what cannot be a Cls. Raises InvalidError."""
    for cls in raw.__mro__[:-1]:
        if "__init__" in vars(cls):
            raise InvalidError(
                f"{raw.__name__} has an __init__ ({cls.__name__}.__init__): a class of an app "
                f"takes values through rekindle.parameter() and sets itself up in @rekindle.enter()"
            )
    class_parameters.declared(raw)
