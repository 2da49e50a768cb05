"""``rekindle.Environment``, functions by their id, and what is said of what has gone."""

from __future__ import annotations

from tests.e2e.harness import Home

APP = """
    import json, rekindle
    from rekindle import Dict, Environment, FunctionCall, Queue
    from rekindle.exception import AlreadyExistsError, InvalidError, NotFoundError

    app = rekindle.App("by-id")

    @app.function()
    def double(n):
        return n * 2

    def said(call):
        try:
            call()
        except (NotFoundError, AlreadyExistsError, InvalidError, rekindle.exception.Error) as error:
            return f"{type(error).__name__}: {error}"
"""


def test_environments_are_made_listed_and_deleted(shared: Home) -> None:
    script = shared.script(
        APP
        + """
    assert Environment.from_context().name == "main"
    Environment.objects.create("green")
    Environment.from_name("blue", create_if_missing=True).hydrate()
    Dict.from_name("in-green", environment_name="green", create_if_missing=True)["k"] = 1
    names = [one.name for one in Environment.objects.list()]
    told = [
        said(lambda: Environment.objects.create("green")),
        said(lambda: Environment.from_name("gren").hydrate()),
        said(lambda: Environment.objects.delete("main")),
        said(lambda: Environment.objects.delete("purple")),
    ]
    Environment.objects.create("green", allow_existing=True)
    Environment.objects.delete("green")
    Environment.objects.delete("blue")
    Environment.objects.delete("purple", allow_missing=True)
    left = [one.name for one in Environment.objects.list()]
    print(json.dumps([names, told, left]))
""",
        "environments.py",
    )
    names, (exists, near, always, unknown), left = shared.python(script).value
    assert {"main", "green", "blue"} <= set(names)
    assert exists.startswith("AlreadyExistsError") and "green" in exists
    assert near.startswith("NotFoundError") and "'gren'; did you mean 'green'" in near
    assert "always there" in always and "'purple'" in unknown
    assert "main" in left and not {"green", "blue"} & set(left)


def test_a_function_is_called_by_its_id_and_what_has_gone_is_named(shared: Home) -> None:
    script = shared.script(
        APP
        + """
    if __name__ == "__main__":
        with app.run():
            by_id = rekindle.Function.from_id(double.object_id)
            values = [by_id.remote(4), by_id.spawn(5).get(), list(by_id.map([1, 2]))]
        old, line = (kind.from_name("gone", create_if_missing=True) for kind in (Dict, Queue))
        old["k"] = 1
        line.put(1)
        Dict.objects.delete("gone")
        Queue.objects.delete("gone")
        call = FunctionCall.from_id("fc-" + "0" * 22)
        print(json.dumps([
            values,
            said(lambda: old.get("k")),
            said(lambda: line.get(block=False)),
            said(lambda: rekindle.Function.from_id("fu-" + "0" * 16).remote(1)),
            [said(lambda: call.get(timeout=0)), said(call.num_inputs), said(call.cancel)],
        ]))
""",
        "by_id.py",
    )
    values, old, line, function, calls = shared.python(script).value
    assert values == [8, 10, [2, 4]]
    assert "the Dict 'gone' of the environment 'main' was deleted" in old
    assert "the Queue 'gone' of the environment 'main' was deleted" in line
    assert function.startswith("NotFoundError") and "fu-0000" in function
    for said in calls:
        assert said.startswith(("NotFoundError", "OutputExpiredError")) and "fc-000" in said
