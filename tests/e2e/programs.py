"""Small programs that several tests run."""

#: For calls of many kinds; a test appends its entrypoint.
NUMBERS = """
    import json, rekindle
    app = rekindle.App("numbers")

    @app.function(max_containers=2)
    def invert(n: int) -> float:
        return 1 / n

    @app.function()
    def add(a, b=0, *, c=0):
        return a + b + c

"""

#: One call, from an entrypoint.
PLAIN = """
    import rekindle

    app = rekindle.App("plain")

    @app.function()
    def double(n: int) -> int:
        print("doubling", n)
        return 2 * n

    @app.local_entrypoint()
    def main(n: int = 4):
        print("it is", double.remote(n))
"""
