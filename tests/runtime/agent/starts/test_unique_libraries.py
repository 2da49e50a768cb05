"""Copies of one template repeat nothing of the generators that libraries keep.

With the real packages: in forks, restores, a second run's restores, forks of a restored template.
"""

from __future__ import annotations

import random
import ssl
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts import copies

pytestmark = pytest.mark.criu


class OpenSSL:
    """The interpreter's, cryptography's own."""

    def load(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import rsa

        self.key = rsa.generate_private_key(65537, 2048)
        self.draw()

    def draw(self) -> dict[str, Any]:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, x25519

        salted = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return {
            "ssl": ssl.RAND_bytes(16),
            "key": x25519.X25519PrivateKey.generate().private_bytes_raw(),
            "curve key": ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value,
            "signature": self.key.sign(b"", salted, hashes.SHA256()),
        }


class SQLite:
    """The interpreter's, and two that packages carry, with connections old and new."""

    def load(self) -> None:
        import importlib
        import importlib.util

        #: pysqlite3-binary has no wheels for some machines.
        names = [n for n in ("sqlite3", "apsw", "pysqlite3") if importlib.util.find_spec(n)]
        self.modules = {name: importlib.import_module(name) for name in names}
        self.old = {name: self.connect(name) for name in names}
        self.draw()

    def connect(self, name: str) -> Any:
        module = self.modules[name]
        return getattr(module, "Connection" if name == "apsw" else "connect")(":memory:")

    def draw(self) -> dict[str, Any]:
        query = "select hex(randomblob(16)), random()"
        drawn = {}
        for name, connection in self.old.items():
            drawn[name] = connection.cursor().execute(query).fetchone()
            drawn[f"{name}, new connection"] = self.connect(name).cursor().execute(query).fetchone()
        return drawn


class Sodium:
    def load(self) -> None:
        self.draw()

    def draw(self) -> dict[str, Any]:
        import nacl.public
        import nacl.utils

        return {
            "random": nacl.utils.random(16),
            "key": nacl.public.PrivateKey.generate().encode(),
        }


class Rust:
    """Thread generators of rand 0.8 (fastuuid), 0.9 (tokenizers) and 0.10 (uuid_utils)."""

    def load(self) -> None:
        from tokenizers import Tokenizer, models

        merges = models.BPE(vocab={"a": 0, "aa": 1}, merges=[("a", "a")], dropout=0.5)
        self.tokenizer = Tokenizer(merges)
        self.draw()

    def draw(self) -> dict[str, Any]:
        import fastuuid
        import uuid_utils

        return {
            "dropout": tuple(self.tokenizer.encode("a" * 400).ids),
            "fastuuid": str(fastuuid.uuid4()),
            "uuid_utils": str(uuid_utils.uuid4()),
            "uuid_utils, by time": str(uuid_utils.uuid7())[20:],
        }


class Identifiers:
    """Made of a time, a number of the process and a counter."""

    def load(self) -> None:
        self.draw()

    def draw(self) -> dict[str, Any]:
        import ulid
        from bson import ObjectId

        first, node = uuid.uuid1(), uuid.getnode()
        return {
            "ObjectId, without its time": ObjectId().binary[4:],
            "ULID, without its time": bytes(ulid.ULID())[6:],
            "uuid1, without its time": (first.clock_seq, first.node),
            "getnode": node,
        }


class Objects:
    """Generators that were made without a seed, by whoever and for whomever."""

    def load(self) -> None:
        import copy

        import numpy as np
        from faker import Faker

        class Mine(random.Random):
            pass

        self.python, self.derived, self.again = random.Random(), Mine(), random.Random(4)
        self.again.seed()
        self.numpy = np.random.default_rng()
        self.kinds = [
            np.random.Generator(kind())
            for kind in (np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM)
        ]
        self.state = np.random.RandomState()
        self.child = self.numpy.spawn(1)[0]
        self.copied = copy.deepcopy(self.numpy)
        self.faker = Faker()
        self.draw()

    def draw(self) -> dict[str, Any]:
        drawn = {
            "random.Random": self.python.random(),
            "derived": self.derived.gauss(),
            "seeded anew by the system": self.again.random(),
            "default_rng": float(self.numpy.normal()),
            "spawned": float(self.child.random()),
            "spawned now": float(self.numpy.spawn(1)[0].random()),
            "copied": float(self.copied.random()),
            "RandomState": float(self.state.normal()),
            "Faker": self.faker.sha256(),
        }
        for generator in self.kinds:
            drawn[type(generator.bit_generator).__name__] = float(generator.random())
        return drawn


class CLibrary:
    def load(self) -> None:
        self.draw()

    def draw(self) -> dict[str, Any]:
        import ctypes

        libc = ctypes.CDLL(None)
        libc.random.restype = libc.lrand48.restype = ctypes.c_long
        return {
            "rand": (libc.rand(), libc.rand()),
            "random": (libc.random(), libc.random()),
            "lrand48": (libc.lrand48(), libc.lrand48()),
        }


LIBRARIES = (OpenSSL, SQLite, Sodium, Rust, Identifiers, Objects, CLibrary)


class Libraries:
    """All of these in one template."""

    def load(self) -> None:
        self.libraries = [library() for library in LIBRARIES]
        for library in self.libraries:
            library.load()

    def draw(self) -> dict[str, Any]:
        return {
            f"{type(library).__name__}: {source}": drawn
            for library in self.libraries
            for source, drawn in library.draw().items()
        }


def test_copies_repeat_nothing(home: Path) -> None:
    said = copies.say(home, Libraries, "draw")
    for answer in copies.all_of(said):
        assert {source.partition(":")[0] for source in answer} == {
            library.__name__ for library in LIBRARIES
        }
    copies.assert_all_differ(said)


class Polars:
    """Starts threads of its own, so it is never forked."""

    def load(self) -> None:
        self.draw()

    def draw(self) -> dict[str, Any]:
        import polars as pl

        frame = pl.DataFrame({"n": range(10000)})
        return {
            "sample": tuple(frame.sample(6)["n"]),
            "shuffle": tuple(frame["n"].shuffle()[:6]),
            "lazy": tuple(frame.lazy().select(pl.col("n").shuffle()).collect()["n"][:6]),
        }


def test_copies_of_a_template_with_threads_repeat_nothing(home: Path) -> None:
    copies.assert_all_differ(copies.say(home, Polars, "draw", forks=False))


class Numba:
    """What the global generators are in compiled code."""

    def load(self) -> None:
        import numba
        import numpy as np

        self.numpy = numba.njit(lambda: np.random.random())
        self.python = numba.njit(lambda: random.random())
        self.draw()

    def draw(self) -> dict[str, Any]:
        return {"numpy": self.numpy(), "random": self.python()}


def test_copies_repeat_nothing_in_code_that_numba_compiled(home: Path) -> None:
    pytest.importorskip("numba", reason="numba is too large to install for one test")
    copies.assert_all_differ(copies.say(home, Numba, "draw"))


class Arrow:
    """Its jemalloc has a thread, so it is never forked."""

    def load(self) -> None:
        self.draw()

    def draw(self) -> dict[str, Any]:
        import pyarrow.compute as pc

        return {"random": float(pc.random(1)[0].as_py())}


def test_copies_repeat_nothing_of_arrows_random_numbers(home: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is too large to install for one test")
    copies.assert_all_differ(copies.say(home, Arrow, "draw", forks=False))


class Seeded:
    """Generators that were given a seed say what the seed says."""

    def load(self) -> None:
        import numpy as np

        self.python, self.late, self.text = random.Random(3), random.Random(), random.Random("x")
        self.late.seed(5)
        self.restored = random.Random()
        self.restored.setstate(self.python.getstate())
        self.numpy, self.state = np.random.default_rng(7), np.random.RandomState(9)
        self.sequence = np.random.default_rng(np.random.SeedSequence([1, 2, 3]))

    def draw(self) -> tuple[Any, ...]:
        return (
            *(one.random() for one in (self.python, self.late, self.text, self.restored)),
            *(float(one.random()) for one in (self.numpy, self.sequence)),
            float(self.state.random_sample()),
        )

    def both(self) -> tuple[tuple[Any, ...], tuple[str, str]]:
        """What they draw, and where the standard library's method comes from."""
        method = random.Random.seed
        return self.draw(), (method.__module__, method.__code__.co_filename)


def test_generators_with_a_seed_are_left_alone(home: Path) -> None:
    here = Seeded()
    here.load()
    expected = (here.draw(), ("random", random.__file__))
    assert set(copies.all_of(copies.say(home, Seeded, "both"))) == {expected}


class Stubborn:
    """A library whose generator cannot be told."""

    def load(self) -> None:
        import sys
        from types import ModuleType

        sys.modules["uuid_utils"] = ModuleType("uuid_utils")  # of a version without reseed_rng

    def draw(self) -> str:
        return "drawn"


def test_a_generator_that_cannot_be_renewed_is_a_reason_not_to_copy(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Stubborn, enable_memory_snapshot=True)
        assert (await h.call(function_id, "draw")).value == "drawn"
        for strategy in ("fork", "restore"):
            refused = await h.prepare(function_id, strategy)
            assert not refused.ok
            assert "the random numbers of uuid_utils would repeat in every runner" in refused.reason
        assert not list((home / "snapshots").glob("sn-*"))

    run(home, scenario)
