"""Options of the interpreter, which are its own process's: variables say them to runners."""

from __future__ import annotations

from tests.e2e.harness import Home

PROGRAM = """
    import json, sys, rekindle

    app = rekindle.App("options")
    NAMES = {
        "PYTHONOPTIMIZE": "1", "PYTHONUTF8": "1", "PYTHONWARNINGS": "error::UserWarning",
        "PYTHONHASHSEED": "7",
    }

    def options():
        return [sys.flags.optimize, __debug__, sys.flags.utf8_mode, sys.warnoptions, hash("a")]

    @app.function()
    def plain():
        return options()

    @app.function(env=NAMES)
    def told():
        return options()

    @app.function(env=NAMES, enable_memory_snapshot=True)
    def told_template():
        return options()

    if __name__ == "__main__":
        with app.run():
            print(json.dumps([options(), plain.remote(), told.remote(), told_template.remote()]))
"""
GIVEN = ["-O", "-X", "utf8", "-W", "error::UserWarning"]


def test_runners_have_the_options_that_variables_name_and_not_those_of_the_program(
    shared: Home,
) -> None:
    script = shared.script(PROGRAM)
    own, plain, *told = shared.python(*GIVEN, script, PYTHONHASHSEED="7").value
    assert own[:4] == [1, False, 1, ["error::UserWarning"]]
    assert plain[:4] == [0, True, 0, []]
    assert told == [own, own]
