"""An event loop of a runner that user code has closed."""

from __future__ import annotations

from tests.e2e.harness import Home

PROGRAM = """
import asyncio, os
import rekindle

app = rekindle.App("loops")

class Closes:
    def work(self):
        loop = asyncio.get_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        return os.getpid()

@app.cls(max_containers=1)
class OneByOne(Closes):
    @rekindle.enter()
    async def enter(self):
        await asyncio.sleep(0)
    @rekindle.method()
    def close(self):
        return self.work()
    @rekindle.method()
    async def again(self):
        await asyncio.sleep(0)
        return os.getpid()

@app.local_entrypoint()
def main():
    made = OneByOne()
    for ask in (lambda one: one.remote(), lambda one: one.spawn().get()):
        print(len({ask(one) for _ in range(2) for one in (made.close, made.again)}))
"""


def test_a_runner_goes_on_after_user_code_has_closed_its_loop(shared: Home) -> None:
    ended = shared.run(shared.script(PROGRAM))
    assert ended.out == "1\n1\n" and "Traceback" not in ended.err, str(ended)
