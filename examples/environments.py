"""One program, deployed twice: what it names lies in the environment that it is deployed in.

rekindle deploy examples/environments.py::app
rekindle deploy examples/environments.py::app --env staging
rekindle run --env staging examples/environments.py --greeting Ahoy
rekindle run examples/environments.py
"""

import rekindle

app = rekindle.App("greeter")
settings = rekindle.Dict.from_name("greeter-settings", create_if_missing=True)


@app.function()
def greet(name: str) -> str:
    return f"{settings.get('greeting', 'Hello')}, {name}!"


caller = rekindle.App("greeter-caller")


@caller.local_entrypoint()
def main(name: str = "Ishmael", greeting: str = "") -> None:
    # Both names lie in the environment that this program runs in.
    if greeting:
        settings["greeting"] = greeting
    print(rekindle.Function.from_name("greeter", "greet").remote(name))
