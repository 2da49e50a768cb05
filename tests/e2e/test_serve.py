"""``rekindle serve``: what is saved is served, and what is broken changes nothing."""

from __future__ import annotations

import os
import signal

from tests.e2e.harness import COMMAND, Home, wait_until

SERVED = """
    import rekindle
    from words_of_test import word

    app = rekindle.App("greeter")

    @app.function()
    def greet():
        print("greeting with", word())
        return word()
"""
ASK = """
    import rekindle
    print(rekindle.Function.from_name("greeter-dev", "greet").remote())
"""


def test_a_saved_file_is_served_and_a_broken_one_keeps_the_old_version_and_says_why(
    shared: Home,
) -> None:
    words = shared.script("def word(): return 'one'", "words_of_test.py")
    script, ask = shared.script(SERVED), shared.script(ASK, "ask.py")
    serving = shared.start_rekindle("serve", script)
    serving.until("Serving greeter-dev, version 1", "err")
    assert shared.python(ask).out == "one\n"
    serving.until("greeting with one")

    words.write_text("def word(): return 'two'")  # a module that the file imports
    serving.until("Serving greeter-dev, version 2", "err")
    assert shared.python(ask).out == "two\n"

    good = script.read_text()
    script.write_text(good.replace("return word()", "return word("))
    serving.until("version 2 goes on", "err")
    assert "SyntaxError" in serving.text("err") and "script.py" in serving.text("err")
    assert shared.python(ask).out == "two\n"

    script.write_text(good.replace("return word()", "return word() + '!'"))
    serving.until("Serving greeter-dev, version 3", "err")
    assert shared.python(ask).out == "two!\n"

    serving.interrupt()
    assert serving.end().status == 130
    assert "is stopped" in shared.python(ask, status=1).err


def test_the_app_ends_with_a_serve_that_is_killed(shared: Home) -> None:
    script = shared.script(SERVED.replace("greeter", "orphan").replace("words_of_test", "kept"))
    shared.script("def word(): return 'kept'", "kept.py")
    serving = shared.start_rekindle("serve", script)
    serving.until("Serving orphan-dev, version 1", "err")
    serving.process.send_signal(signal.SIGKILL)
    serving.end()
    assert "stopped" in shared.rekindle("app", "info", "orphan-dev").out


def test_nothing_is_served_by_a_command_that_is_killed_while_the_file_loads(shared: Home) -> None:
    gate = shared.path / "unborn.gate"
    os.mkfifo(gate)
    loads = f"\n    print('loading', flush=True)\n    open({str(gate)!r}).readline()\n"
    shared.script("def word(): return 'unborn'", "words_unborn.py")
    text = SERVED.replace("greeter", "unborn").replace("words_of_test", "words_unborn")
    serving = shared.start_rekindle("serve", shared.script(loads + text, "unborn.py"))
    serving.until("loading")
    serving.process.kill()
    serving.process.wait()
    opened = os.open(gate, os.O_RDWR)
    os.write(opened, b"\n")
    ended = serving.end()
    os.close(opened)
    assert "Traceback" not in ended.err
    assert "no app" in shared.rekindle("app", "info", "unborn-dev", status=1).err


def test_serve_ends_with_its_instance_and_says_so(home: Home) -> None:
    home.up()
    script = home.script(SERVED.replace("words_of_test", "left"))
    home.script("def word(): return 'left'", "left.py")
    serving = home.start_rekindle("serve", script)
    serving.until("Serving greeter-dev, version 1", "err")
    home.rekindle("down")
    ended = serving.end()
    assert ended.status == 1
    assert "`rekindle down` took it down" in ended.err and "Traceback" not in ended.err


def test_an_app_that_the_file_names_no_more_is_stopped_and_ctrl_c_ends_the_command(
    shared: Home,
) -> None:
    shared.script("def word(): return 'named'", "words_named.py")
    text = SERVED.replace("words_of_test", "words_named")
    script = shared.script(text.replace("greeter", "former"), "named.py")
    serving = shared.start_rekindle("serve", script)
    serving.until("Serving former-dev, version 1", "err")
    script.write_text(script.read_text().replace("former", "latter"))
    serving.until("Serving latter-dev, version 1", "err")
    serving.until("former-dev is stopped: the file has another app now", "err")
    assert "stopped" in shared.rekindle("app", "info", "former-dev").out
    serving.interrupt()
    assert serving.end().status == 130
    assert "stopped" in shared.rekindle("app", "info", "latter-dev").out


def test_an_app_that_is_stopped_elsewhere_is_told_and_a_change_deploys_it_again(
    shared: Home,
) -> None:
    words = shared.script("def word(): return 'one'", "words_ended.py")
    text = SERVED.replace("words_of_test", "words_ended").replace("greeter", "ended")
    serving = shared.start_rekindle("serve", shared.script(text, "ended.py"))
    serving.until("Serving ended-dev, version 1", "err")
    shared.rekindle("app", "stop", "ended-dev", "--yes")
    serving.until("ended-dev was stopped elsewhere", "err")
    words.write_text("def word(): return 'two'")
    serving.until("Serving ended-dev, version 2", "err")
    serving.interrupt()
    assert serving.end().status == 130


def test_a_name_is_served_by_one_command_and_free_once_that_has_ended(shared: Home) -> None:
    shared.script("def word(): return 'shared'", "words_shared.py")
    text = SERVED.replace("words_of_test", "words_shared").replace("greeter", "wanted")
    script = shared.script(text, "wanted.py")
    first = shared.start_rekindle("serve", script)
    first.until("Serving wanted-dev, version 1", "err")

    refused = shared.rekindle("serve", script, status=1).err
    assert "wanted-dev is served already" in refused and str(first.process.pid) in refused
    assert "--name" in refused and "Traceback" not in refused

    other = shared.start_rekindle("serve", script, "--name", "wanted-too")
    other.until("Serving wanted-too, version 1", "err")
    other.interrupt()
    assert other.end().status == 130
    assert "stopped" not in shared.rekindle("app", "info", "wanted-dev").out

    # A file that comes to name an app which another one serves changes nothing.
    renamed = shared.script(text.replace("wanted", "unwanted"), "renamed.py")
    third = shared.start_rekindle("serve", renamed)
    third.until("Serving unwanted-dev, version 1", "err")
    renamed.write_text(script.read_text())
    third.until("version 1 goes on", "err")
    assert "wanted-dev is served already" in third.text("err")
    third.interrupt()
    assert third.end().status == 130

    first.process.send_signal(signal.SIGKILL)
    first.end()
    again = shared.start_rekindle("serve", script)
    again.until("Serving wanted-dev, version", "err")
    again.interrupt()
    assert again.end().status == 130


def test_a_file_that_is_saved_as_it_was_is_no_reason_to_show_its_lines_again(shared: Home) -> None:
    text = SERVED.replace("words_of_test", "words_same").replace("greeter", "same")
    ask = shared.script(ASK.replace("greeter", "same"), "ask_same.py")
    words = shared.script("def word(): return 'same'", "words_same.py")
    serving = shared.start_rekindle("serve", shared.script(text, "same.py"))
    serving.until("Serving same-dev, version 1", "err")
    shared.python(ask)
    serving.until("greeting with same")
    words.touch()
    serving.until("Nothing has changed", "err")
    words.write_text("def word(): return 'another'")
    serving.until("Serving same-dev, version 2", "err")
    shared.python(ask)
    serving.until("greeting with another")
    serving.interrupt()
    assert serving.end().status == 130
    assert serving.text("out").count("greeting with same") == 1


def test_nothing_else_is_deployed_under_a_name_that_is_served(shared: Home) -> None:
    """It would be deployed over with the next save, and stopped with the command."""
    shared.script("def word(): return 'held'", "words_held.py")
    text = SERVED.replace("words_of_test", "words_held").replace("greeter", "held")
    script = shared.script(text, "held.py")
    serving = shared.start_rekindle("serve", script)
    serving.until("Serving held-dev, version 1", "err")
    refused = shared.rekindle("deploy", script, "--name", "held-dev", status=1).err
    assert f"is served by the `rekindle serve` of process {serving.process.pid}" in refused
    assert "--name" in refused and "Traceback" not in refused
    in_program = "import held; held.app.deploy(name='held-dev')"
    assert "is served by" in shared.python("-c", in_program, status=1).err
    shared.rekindle("deploy", script)  # under its own name it stays
    serving.interrupt()
    assert serving.end().status == 130
    assert "stopped" not in shared.rekindle("app", "info", "held").out
    shared.rekindle("deploy", script, "--name", "held-dev")
    for name in ("held", "held-dev"):
        shared.rekindle("app", "stop", name, "--yes")


def test_an_app_without_a_name_is_served_once_it_has_one(shared: Home) -> None:
    """As it is deployed: a file's name would take the place of another's app."""
    shared.script("def word(): return 'named'", "words_nameless.py")
    text = SERVED.replace("words_of_test", "words_nameless")
    script = shared.script(text.replace('"greeter"', ""), "nameless.py")
    serving = shared.start_rekindle("serve", script)
    serving.until("the app has no name", "err")
    serving.until("nothing is served yet", "err")
    script.write_text(script.read_text().replace("App()", "App('late-name')"))
    serving.until("Serving late-name-dev, version 1", "err")
    serving.interrupt()
    assert serving.end().status == 130
    script.write_text(script.read_text().replace("App('late-name')", "App()"))
    refused = shared.rekindle("serve", script, "--name", "", status=None)
    assert refused.status != 0 and "the app name '' must be" in refused.err
    named = shared.start_rekindle("serve", script, "--name", "given-name")
    named.until("Serving given-name, version 1", "err")
    named.interrupt()
    assert named.end().status == 130


def test_serve_ends_with_who_reads_what_the_app_prints(shared: Home) -> None:
    text = SERVED.replace("greeter", "unread").replace("words_of_test", "unread_words")
    shared.script("def word(): return 'unread'", "unread_words.py")
    script, ask = shared.script(text), shared.script(ASK.replace("greeter", "unread"), "ask.py")
    line = f"{COMMAND} serve {script} | head -n 1; exit ${{PIPESTATUS[0]}}"
    serving = shared.start("bash", "-c", line)
    serving.until("Serving unread-dev, version 1", "err")

    def asked_until_it_ends() -> bool:
        shared.python(ask, status=None)
        return serving.process.poll() is not None

    wait_until(asked_until_it_ends, "its end, by a line that nobody reads any more")
    ended = serving.end()
    assert (ended.status, ended.out) == (1, "greeting with unread\n")
    assert "Traceback" not in ended.err
    assert "stopped" in shared.rekindle("app", "info", "unread-dev").out


def test_serve_goes_on_where_the_disk_takes_no_lines_and_says_so_once(shared: Home) -> None:
    text = SERVED.replace("greeter", "full").replace("words_of_test", "full_words")
    shared.script("def word(): return 'full'\nprint('loads')", "full_words.py")
    script, ask = shared.script(text), shared.script(ASK.replace("greeter", "full"), "ask.py")
    line = f"exec {COMMAND} serve {script} > /dev/full"
    serving = shared.start("bash", "-c", line, PYTHONUNBUFFERED="")  # or the print does not load
    serving.until("Serving full-dev, version 1", "err")
    for _ in range(2):
        assert shared.python(ask).out == "full\n"
    serving.until("cannot be written to standard output: No space left on device", "err")
    serving.interrupt()
    ended = serving.end()
    assert ended.status == 130 and "Traceback" not in ended.err
    assert ended.err.count("No space left") == 1
