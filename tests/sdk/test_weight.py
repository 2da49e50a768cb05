"""What a template imports is light: user modules with decorators load the standard library only."""

from __future__ import annotations

import subprocess
import sys

_USER_MODULE = """
import sys
import rekindle
from rekindle import App, FunctionCall, Retries, Secret, current_input_id, is_local

app = rekindle.App("x", secrets=[Secret.from_dict({"A": "b"})])

@app.function(retries=Retries(max_retries=2), timeout=5, secrets=[Secret.from_dict({"A": "b"})])
def f(x): return x

@app.cls(enable_memory_snapshot=True)
class C:
    size: int = rekindle.parameter(default=1)
    @rekindle.enter(snap=True)
    def load(self): self.x = 1
    @rekindle.exit()
    def bye(self): ...
    @rekindle.method()
    def m(self): return self.x

@app.local_entrypoint()
def main(): ...

assert C().m.local() == 1 and f.local(2) == 2
with rekindle.enable_output():
    pass

heavy = {"grpc", "google", "redis", "hiredis", "rich", "click", "asyncio", "cloudpickle",
         "concurrent", "zipfile", "subprocess", "psutil", "xxhash", "logging", "ssl"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""


def test_a_module_with_decorators_loads_the_standard_library_only() -> None:
    done = subprocess.run([sys.executable, "-c", _USER_MODULE], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_rekindle_loads_next_to_nothing() -> None:
    code = (
        "import sys; import rekindle; print([m for m in sys.modules if m.startswith('rekindle')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "['rekindle.wire', 'rekindle.wire.version', 'rekindle']"


def test_every_public_name_is_there() -> None:
    import rekindle

    for name in rekindle.__all__:
        assert getattr(rekindle, name) is not None
