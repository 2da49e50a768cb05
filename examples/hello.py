"""The smallest example: a function that runs in a process of its own.

rekindle run examples/hello.py
rekindle run examples/hello.py --name Ishmael
"""

import os

import rekindle

app = rekindle.App("hello")


@app.function()
def hello(name: str) -> str:
    print(f"saying hello from process {os.getpid()}")  # streams to the caller's terminal
    return f"Hello, {name}!"


@app.local_entrypoint()
def main(name: str = "world") -> None:
    print(hello.remote(name))
