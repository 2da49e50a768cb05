"""What an async hook left running goes on while its runner waits for inputs."""

from __future__ import annotations

from tests.e2e.harness import Home


def test_background_tasks_go_on_between_inputs(shared: Home) -> None:
    script = shared.script(
        """
        import asyncio, time, rekindle
        app = rekindle.App("ticking")

        @app.cls(max_containers=1)
        class Ticker:
            @rekindle.enter()
            async def begin(self):
                self.ticks = 0
                self.task = asyncio.create_task(self.tick())

            async def tick(self):
                while True:
                    await asyncio.sleep(0.01)
                    self.ticks += 1

            @rekindle.method()
            def count(self):
                return self.ticks

        @app.local_entrypoint()
        def main():
            ticker = Ticker()
            for call in (ticker.count.remote, lambda: ticker.count.spawn().get()):
                first = call()
                while call() < first + 20:
                    time.sleep(0.05)
            print("went on")
        """
    )
    assert shared.run(script).out == "went on\n"
