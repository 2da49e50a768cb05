"""Functions, classes, instances and calls as arguments, results and values of Dict and Queue."""

from __future__ import annotations

from tests.e2e.harness import Home

SHOP = """
    import rekindle

    app = rekindle.App("shop-of-handles")

    @app.function()
    def shout(text):
        return text.upper() + "!"

    @app.cls()
    class Counter:
        start: int = rekindle.parameter(default=1)

        @rekindle.method()
        def up(self, by):
            return self.start + by

        @rekindle.method()
        def stream(self, n):
            yield from range(self.start, self.start + n)

    @app.function()
    def own():
        return shout, Counter, Counter(start=5), Counter(start=6).up
"""

PROGRAM = """
    import json
    import rekindle
    import shop

    app = rekindle.App("uses-handles")
    shelf = rekindle.Dict.from_name("shelf-of-handles", create_if_missing=True)
    line = rekindle.Queue.from_name("line-of-handles", create_if_missing=True)

    @app.function()
    def twice(n):
        return n * 2

    @app.function()
    def shout(text):
        return "not this one"

    @app.function()
    def call_all(handles):
        function, Class, instance, method, variant = handles
        return [
            function.remote("a"),
            Class(start=2).up.remote(1),
            instance.up.remote(1),
            method.remote(1),
            variant.remote(3),
            list(instance.stream.remote_gen(2)),
        ]

    @app.function()
    def give(n):
        call = twice.spawn(n)
        return [twice, call, rekindle.Function.from_name("shop-of-handles", "shout"), shop.shout]

    @app.function()
    def through_queue():
        function = line.get(timeout=60)
        line.put(twice)
        return function.remote("q")

    @app.local_entrypoint()
    def main():
        deployed = rekindle.Function.from_name("shop-of-handles", "shout")
        Counter = rekindle.Cls.from_name("shop-of-handles", "Counter")
        counter = Counter(start=3)
        handles = (deployed, Counter, counter, Counter(4).up, twice.with_options(timeout=99))
        told = [call_all.remote(handles), call_all.spawn(handles).get()]

        own, call, found, imported = give.remote(4)
        told.append([own.remote(5), call.get(), found.remote("b"), imported.remote("c")])

        line.put(deployed)
        waiting = through_queue.spawn()
        told.append([waiting.get(), line.get(timeout=60).remote(8)])

        shelf["deployed"], shelf["counter"], shelf["up"] = deployed, counter, Counter(7).up
        shelf["variant"] = deployed.with_options(timeout=98)
        shelf["class of a variant"] = Counter.with_options(timeout=97)
        shelf["call"] = twice.spawn(21)
        shelf["call"].get()
        print(json.dumps(told))
"""

ELSEWHERE = """
    import json, rekindle
    shelf = rekindle.Dict.from_name("shelf-of-handles")
    own = rekindle.Function.from_name("shop-of-handles", "own")
    function, Class, instance, method = own.remote()
    print(json.dumps([
        shelf["deployed"].remote("x"),
        shelf["counter"].up.remote(1),
        shelf["up"].remote(1),
        shelf["variant"].remote("y"),
        shelf["class of a variant"](start=9).up.remote(1),
        shelf["call"].get(),
        function.remote("z"), Class(start=8).up.remote(1), instance.up.remote(1), method.remote(1),
    ]))
"""


def test_handles_work_wherever_they_arrive(shared: Home) -> None:
    shared.rekindle("deploy", shared.script(SHOP, "shop.py"))
    ended = shared.run(shared.script(PROGRAM, "uses_handles.py"))
    called = ["A!", 3, 4, 5, 6, [3, 4]]
    assert ended.value == [called, called, [10, 8, "B!", "C!"], ["Q!", 16]], str(ended)
    elsewhere = shared.python(shared.script(ELSEWHERE, "elsewhere_of_handles.py"))
    assert elsewhere.value == ["X!", 4, 8, "Y!", 10, 42, "Z!", 9, 6, 7]


def test_a_function_whose_app_does_not_run_is_refused_as_a_value(shared: Home) -> None:
    script = shared.script(
        """
        import json, rekindle
        app, other = rekindle.App("asks-of-handles"), rekindle.App("asleep")

        @other.function()
        def idle(): ...

        @app.function()
        def take(value): ...

        @app.local_entrypoint()
        def main():
            told = []
            shelf = rekindle.Dict.from_name("shelf-of-handles", create_if_missing=True)
            for use in (lambda: take.remote([idle]), lambda: shelf.put("k", idle)):
                try:
                    use()
                except rekindle.exception.SerializationError as error:
                    told.append(str(error))
            print(json.dumps(told))
        """,
        "asks_of_handles.py",
    )
    argument, value = shared.run(script).value
    for text in (argument, value):
        assert "idle cannot be called remotely: its app 'asleep' is not running" in text
    assert "args[0][0]" in argument
