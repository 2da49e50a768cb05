"""Plain functions: one call, many at once, one in the background, and an exception that comes home.

rekindle run examples/collatz.py
rekindle run examples/collatz.py --count 200
"""

import rekindle

app = rekindle.App("collatz")


@app.function()
def steps_to_one(n: int) -> int:
    """How many steps the Collatz rule takes from n down to 1."""
    if n < 1:
        raise ValueError(f"the rule needs a positive number, not {n}")
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


@app.local_entrypoint()
def main(count: int = 50) -> None:
    print("here:      27 takes", steps_to_one.local(27), "steps")
    print("remotely:  27 takes", steps_to_one.remote(27), "steps")

    # .map keeps the order of its inputs, whichever runner is done first.
    steps = list(steps_to_one.map(range(1, count + 1)))
    longest = max(range(count), key=steps.__getitem__)
    print(f"of 1 to {count}, {longest + 1} takes the most: {steps[longest]}")

    # .spawn comes back at once; the result is fetched when it is wanted.
    call = steps_to_one.spawn(97)
    print("later:     97 takes", call.get(timeout=60), "steps")

    # One bad input among good ones: its exception takes the place of its result.
    for n, answer in zip(
        [3, -1, 5], steps_to_one.map([3, -1, 5], return_exceptions=True), strict=True
    ):
        print(f"{n:>3}: {answer!r}")

    # And without return_exceptions it is raised here, as the type that was raised there.
    try:
        steps_to_one.remote(0)
    except ValueError as error:
        print("came home:", error)
