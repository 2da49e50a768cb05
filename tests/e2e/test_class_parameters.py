"""Parameters of a class from programs that have it and from those that have only its name."""

from __future__ import annotations

import json
import os
import sys

from tests.e2e.harness import Home, wait_until

MODELS = """
    import uuid, rekindle

    app = rekindle.App("models")

    @app.cls(max_containers=1)
    class Model:
        name: str = rekindle.parameter()
        size: int = rekindle.parameter(default=3)
        key: bytes = rekindle.parameter(default=b"k")
        fast: bool = rekindle.parameter(default=False)
        fixed: int = rekindle.parameter(default=9, init=False)
        made: dict = rekindle.parameter(init=False)

        @rekindle.enter()
        def start(self):
            assert not hasattr(self, "made")
            self.made = {"runner": uuid.uuid4().hex}
            self.runner = self.made["runner"]

        @rekindle.method()
        def who(self):
            return [self.runner, self.name, self.size, self.key.decode(), self.fast, self.fixed]

        @rekindle.method()
        def again(self):
            return self.who.remote()
"""


def test_equal_values_are_one_pool_whoever_names_them_and_however(shared: Home) -> None:
    models = shared.script(MODELS, "models.py")
    shared.rekindle("deploy", models)
    elsewhere = shared.script(
        """
        import json, rekindle
        Model = rekindle.Cls.from_name("models", "Model")
        print(json.dumps([
            Model(name="a").who.remote(),
            Model("a", 3).who.remote(),
            Model(name="a", key=b"k", fast=False, size=3).who.remote(),
            Model.with_options(timeout=77)(name="a").who.remote(),
            Model(name="a", size=4).who.remote(),
        ]))
        """,
        "elsewhere.py",
    )
    one, by_position, spelled_out, variant, other = shared.python(elsewhere).value
    assert one[1:] == ["a", 3, "k", False, 9]
    assert one == by_position == spelled_out
    assert variant[1:] == one[1:] and variant[0] != one[0]
    assert other[1:] == ["a", 4, "k", False, 9] and other[0] != one[0]

    at_home = shared.script(
        MODELS
        + """
    import json
    if __name__ == "__main__":
        app.deploy()
        print(json.dumps(Model(name="a").who.remote()))
""",
        "models.py",
    )
    local = shared.python(at_home).value
    assert shared.python(elsewhere).value[0] == local, "by a program with the class, and without"
    nested = "import rekindle, json; Model = rekindle.Cls.from_name('models', 'Model')\n"
    nested += "print(json.dumps(Model('a', size=3).again.remote()))"
    assert shared.python(shared.script(nested, "nested.py")).value[1:] == local[1:]

    # Of the class, called from inside it too, and of its variant.
    wait_until(lambda: sorted(one["size"] for one in _listed(shared)) == [3, 3, 4], "three pools")
    default = {"name": "a", "size": 3, "key": {"bytes": "aw=="}, "fast": False}
    assert _listed(shared).count(default) == 2
    assert "name='a'" in shared.rekindle("pool", "ls", COLUMNS="300").out


def test_wrong_values_for_a_class_that_is_elsewhere_are_refused_at_the_call(shared: Home) -> None:
    models = shared.script(MODELS, "models.py")
    shared.rekindle("deploy", models)
    wrong = shared.script(
        """
        import asyncio, json, rekindle
        Model = rekindle.Cls.from_name("models", "Model")
        told = []
        for given in ({}, {"name": 5}, {"name": "a", "size": True}, {"nme": "a"}, {"fixed": 1}):
            try:
                Model(**given).who.remote()
            except TypeError as error:
                told.append(str(error))
        try:
            asyncio.run(Model(name="a").whu.remote.aio())
        except rekindle.exception.NotFoundError as error:
            told.append(str(error))
        print(json.dumps(told))
        """,
        "wrong.py",
    )
    missing, of_str, of_int, unknown, fixed, method = shared.python(wrong).value
    names = "its parameters: name: str, size: int = 3, key: bytes = b'k', fast: bool = False"
    assert missing == f"Model() needs values for: name ({names})"
    assert of_str == "Model(name=) is 5; it must be of type str"
    assert of_int == "Model(size=) is True; it must be of type int"
    assert "'nme'; did you mean 'name'" in unknown and names in unknown
    assert "'fixed'" in fixed and names in fixed
    assert "no method 'whu'" in method and "who" in method


def test_a_version_whose_class_takes_other_parameters_takes_the_place_of_one_that_runs(
    shared: Home,
) -> None:
    def version(parameters: str) -> str:
        return shared.script(
            f"""
            import rekindle
            app = rekindle.App("changing")

            @app.cls()
            class Model:
                {parameters}

                @rekindle.method()
                def all(self):
                    return repr(vars(self))
            """,
            "changing.py",
        )

    call = """
        import json, rekindle
        print(json.dumps(rekindle.Cls.from_name("changing", "Model")({}).all.remote()))
    """
    shared.rekindle("deploy", version("size: int = rekindle.parameter(default=1)"))
    shared.python(shared.script(call.format("size=9"), "call.py"))
    renamed = "width: int = rekindle.parameter(default=2)"
    assert "version 2" in shared.rekindle("deploy", version(renamed)).out
    found = shared.python(shared.script(call.format("width=8"), "call.py")).value
    assert "'width': 8" in found
    required = "width: int = rekindle.parameter()\n                name: str = rekindle.parameter()"
    ended = shared.rekindle("deploy", version(required))
    assert "version 3" in ended.out
    assert "Model was not started first: it has to be given other parameters" in ended.out
    shared.rekindle("app", "stop", "-y", "changing")


def test_who_has_the_name_alone_learns_what_a_newer_version_takes(shared: Home) -> None:
    def version(parameter: str) -> str:
        return f"""
import rekindle
app = rekindle.App("renaming")

@app.cls()
class Model:
    {parameter}: int = rekindle.parameter(default=1)

    @rekindle.method()
    def own(self):
        return self.{parameter}
"""

    shared.script(version("width"), "renamed.py")
    shared.rekindle("deploy", shared.script(version("size"), "renaming.py"))
    program = shared.script(
        """
        import json, pathlib, subprocess, sys, rekindle
        Model = rekindle.Cls.from_name("renaming", "Model")
        found, told = [Model(size=9).own.remote()], ""
        rekindle_ = pathlib.Path(sys.executable).with_name("rekindle")
        renamed = pathlib.Path(__file__).with_name("renamed.py")
        subprocess.run([rekindle_, "deploy", "-q", renamed], check=True)
        while not told:  # until the former one's runners have ended
            try:
                found.append(Model(size=9).own.remote())
            except rekindle.exception.InvalidError as error:
                told = str(error)
        try:
            Model(size=9).own.remote()
        except TypeError as error:
            found.append(str(error))
        print(json.dumps([told, found[0], *found[-1:], Model(width=8).own.remote()]))
        """,
        "caller.py",
    )
    told, before, wrong, after = shared.python(program).value
    assert "has no parameter 'size'" in told and "look the class up again" in told
    assert before == 9 and after == 8
    assert "unexpected keyword argument 'size' (its parameters: width: int = 1)" in wrong
    shared.rekindle("app", "stop", "-y", "renaming")


def test_pools_of_values_that_nobody_calls_close_and_open_again_at_the_next_call(
    home: Home,
) -> None:
    home.up(REKINDLE_POOL_REST_S="1")
    home.rekindle(
        "deploy",
        home.script(
            """
            import rekindle

            app = rekindle.App("tenants")

            @app.cls(scaledown_window=2)
            class Tenant:
                name: str = rekindle.parameter()

                @rekindle.method()
                def own(self, x):
                    return [self.name, x]
            """,
            "tenants.py",
        ),
    )
    program = home.script(
        """
        import sys, rekindle
        Tenant = rekindle.Cls.from_name("tenants", "Tenant")
        for _ in range(2):
            for n in range(3):
                one = Tenant(name=f"t{n}")
                assert one.own.remote(n) == [f"t{n}", n]
                assert one.own.spawn(n).get() == [f"t{n}", n]
                assert list(one.own.map(range(3))) == [[f"t{n}", x] for x in range(3)]
            print("called", flush=True)
            open(sys.argv[1]).read()
        """,
        "caller.py",
    )
    gate = home.scripts / "gate"
    os.mkfifo(gate)
    there = home.start(sys.executable, program, gate)
    for round_ in (1, 2):
        there.until("called", times=round_)
        wait_until(lambda: _open_at_agents(home) == 0, "no pool of an instance is open")
        gate.write_text("")
    ended = there.end()
    assert ended.status == 0, str(ended)


def _open_at_agents(home: Home) -> int:
    """Pools of instances that agents have."""
    [agent] = home.status()["agents"]
    return sum(bool(one.get("params")) for one in agent["stats"].get("held", []))


def _listed(home: Home) -> list[dict[str, object]]:
    """Values of the instances that `rekindle pool ls` knows of."""
    pools = _pools(json.loads(home.rekindle("pool", "ls", "--json").out))
    return [json.loads(one["instance"]) for one in pools]


def _pools(found: object) -> list[dict[str, str]]:
    """Every object in it that has the values of an instance."""
    if isinstance(found, list):
        return [one for part in found for one in _pools(part)]
    if not isinstance(found, dict):
        return []
    own = [found] if found.get("instance") else []
    return own + [one for part in found.values() for one in _pools(part)]
