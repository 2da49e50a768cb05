"""How many descriptors a daemon may have, and how many what it starts."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

from rekindle.linux import limits

_DAEMON = """
import json, resource, subprocess, sys
from rekindle.linux import limits
limits.raise_open_files()
limits.raise_open_files()
child = "import resource, sys; from rekindle.linux import limits; "
child += "limits.give_open_files(int(sys.argv[1])); print(limits.open_files())"
argv = [sys.executable, "-c", child, str(limits.given_open_files())]
print(json.dumps([
    resource.getrlimit(resource.RLIMIT_NOFILE), limits.given_open_files(),
    int(subprocess.check_output(argv)),
]))
"""


def test_a_daemon_has_all_that_it_may_have_and_its_children_what_it_was_given() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shell = 'ulimit -Sn 300 && exec "$@"'
    argv = ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", _DAEMON]
    had, given, child = json.loads(subprocess.check_output(argv))
    assert had == [hard, hard]
    assert (given, child) == (300, 300)


def test_what_never_had_its_limit_raised_was_given_what_it_has() -> None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limits.given_open_files() == limits.open_files() == soft
