"""Unique again: generators that are objects, whoever holds them.

A generator that was made without a seed is to differ in every copy; one that its maker gave a
seed is to say what the seed says, in every copy too. Which it is:

- ``random.Random``: seen when it is seeded, from before user code until the template parks.
- NumPy's, by the entropy of their seed sequence: without a seed that is a number of 128 bits from
  the system. Who writes such a number into a program themselves gets other numbers than those.

torch's generators are fixed from the start, unless their user seeds them; their holder does.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from rekindle.runtime.runner.unique.once_imported import OnceImported
from rekindle.runtime.runner.unique.step import Step

#: Seeds of fewer bits are chosen by someone; one in four billion from the system is that small.
_SYSTEM_ENTROPY_BITS = 96

#: What undoes the tracking.
_undo: list[Callable[[], object]] = []
#: id -> a generator that was seeded by the system last.
_unseeded: dict[int, weakref.ref[Any]] = {}


def track() -> None:
    """See from now on which ``random.Random`` are seeded by the system, and which by someone."""
    # Without the module a template has three libraries less.
    _undo.append(OnceImported("random", _track).cancel)


def _track(random: ModuleType) -> None:
    seed, setstate = random.Random.seed, random.Random.setstate

    @functools.wraps(seed)
    def tracked_seed(self: Any, a: Any = None, *args: Any, **kwargs: Any) -> None:
        seed(self, a, *args, **kwargs)
        _note(self, by_system=a is None)

    @functools.wraps(setstate)
    def tracked_setstate(self: Any, state: Any) -> None:
        setstate(self, state)
        _note(self, by_system=False)

    for name, original in (("seed", seed), ("setstate", setstate)):
        _undo.append(functools.partial(setattr, random.Random, name, original))
    random.Random.seed = tracked_seed
    random.Random.setstate = tracked_setstate


def _note(generator: Any, *, by_system: bool) -> None:
    key = id(generator)
    if by_system:
        # The callback must not remove a later generator with the same id.
        _unseeded[key] = weakref.ref(generator, functools.partial(_forget, key))
    else:
        _unseeded.pop(key, None)


def _forget(key: int, gone: weakref.ref[Any]) -> None:
    if _unseeded.get(key) is gone:
        del _unseeded[key]


def _untrack() -> None:
    while _undo:
        _undo.pop()()


def steps() -> Iterator[Step]:
    """A step for all unseeded generators of a kind, if there is one. Ends the tracking."""
    _untrack()
    pythons = [found for one in _unseeded.values() if (found := one()) is not None]
    _unseeded.clear()
    if pythons:
        yield Step("random.Random", lambda: _each(_renew_python, pythons))
    if "numpy.random" in sys.modules:
        yield from _numpy_steps()


def _numpy_steps() -> Iterator[Step]:
    from numpy.random import BitGenerator, RandomState

    # By type: isinstance() asks proxies for their __class__ and so wakes them.
    states, generators = _kinds(RandomState), _kinds(BitGenerator)
    both = states | generators
    found = [one for one in gc.get_objects() if type(one) in both]
    own = sys.modules["numpy.random"].mtrand._rand  # the global one, a package's step of its own
    legacy = [
        one
        for one in found
        if type(one) in states and one is not own and _from_system(one._bit_generator)
    ]
    bits = [one for one in found if type(one) in generators and _from_system(one)]
    held = {id(one._bit_generator) for one in [*legacy, own]}
    bits = [one for one in bits if id(one) not in held]
    if legacy:
        yield Step("numpy.random.RandomState", lambda: _each(_renew_legacy, legacy))
    if bits:
        yield Step("numpy.random.Generator", lambda: _each(_renew_bits, bits))


def _kinds(kind: type) -> set[type]:
    """The class and all that are derived from it."""
    derived: list[type] = kind.__subclasses__()
    return {kind}.union(*(_kinds(one) for one in derived))


def _from_system(bit_generator: Any) -> bool:
    entropy = getattr(getattr(bit_generator, "seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy.bit_length() > _SYSTEM_ENTROPY_BITS


def _each(renew: Callable[[Any], None], generators: list[Any]) -> None:
    for one in generators:
        renew(one)


def _renew_python(generator: Any) -> None:
    generator.seed()


def _renew_legacy(state: Any) -> None:
    state.seed(memoryview(os.urandom(64)).cast("I").tolist())


def _renew_bits(bit_generator: Any) -> None:
    """Its state, and the seed sequence from which it spawns others."""
    new = type(bit_generator)(int.from_bytes(os.urandom(16), "little"))
    state = new.__getstate__()
    if isinstance(state, tuple):
        bit_generator.__setstate__(state)
    else:  # before NumPy 2.0 a state goes without its seed sequence
        bit_generator.state = new.state
