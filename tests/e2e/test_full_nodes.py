"""A node whose places are all taken: what waits has one that comes free, whatever else runs on."""

from __future__ import annotations

from tests.e2e.harness import Gate, Home

_APP = f"""
import threading, time
import rekindle
{Gate.SOURCE}
app = rekindle.App("full-node")

@app.function()
def other():
    return "other"
"""


def test_a_reader_of_one_generator_gets_a_runner_for_the_next(home: Home) -> None:
    """The first one is held up by its reader, which waits for the second."""
    script = home.script(
        _APP
        + """
@app.function()
def count(n):
    yield from range(n)

@app.local_entrypoint()
def main():
    print(other.remote())  # its runner has the second place, and is this program's
    first = count.remote_gen(1000)
    print(next(first))
    print(sum(map(sum, zip(count.remote_gen(1000), first))))
"""
    )
    assert home.run(script, REKINDLE_MAX_RUNNERS="2").out == "other\n0\n998001\n"


def test_an_input_is_not_kept_waiting_for_a_long_call_where_a_place_comes_free(home: Home) -> None:
    script = home.script(
        _APP
        + """
@app.function()
def hold(path):
    if path:
        wait_at(path)
    return path or "passed"

@app.local_entrypoint()
def main(path: str):
    print(other.remote())
    calling = threading.Thread(target=hold.remote, args=(path,))
    calling.start()
    while not os.path.exists(path + "/held"):
        time.sleep(0.01)
    try:
        print(hold.spawn("").get(timeout=60))
    finally:
        gate = os.open(path + "/gate", os.O_RDWR | os.O_NONBLOCK)
        os.write(gate, b".")
        calling.join()
"""
    )
    with Gate(home.root / "gate") as gate:
        ended = home.run(script, "--path", str(gate.directory), REKINDLE_MAX_RUNNERS="2")
    assert sorted(ended.out.splitlines()) == ["other", "passed", "waiting"]
