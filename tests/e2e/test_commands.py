"""``rekindle doctor``, and calls on a machine without CRIU."""

from __future__ import annotations

import pytest

from tests.e2e.harness import COMMAND, Home


@pytest.mark.criu
def test_doctor_says_that_restores_are_possible(home: Home) -> None:
    ended = home.rekindle("doctor")
    assert "Restores are possible on this machine." in ended.out
    for word in ("CRIU", "kernel", "capabilities", "Redis", "GPU", "user"):
        assert word in ended.out


def test_doctor_without_criu_ends_with_1_and_says_what_to_do(home: Home) -> None:
    ended = home.rekindle("doctor", status=1, REKINDLE_CRIU=str(home.root / "nowhere"))
    assert "CRIU" in ended.out and "nowhere" in ended.out
    assert "->" in ended.out


@pytest.mark.criu
@pytest.mark.needs_root("makes a network of its own")
def test_what_keeps_criu_from_working_is_what_the_doctor_says_to_change(home: Home) -> None:
    ended = home.start("unshare", "--net", COMMAND, "doctor").end()
    words = " ".join(ended.out.split())
    assert ended.status == 1 and "Network is unreachable" in words, str(ended)
    assert "-> bring the loopback up (ip link set lo up)" in words, str(ended)
    assert "-> rekindle setup criu" not in words and "run `rekindle setup criu`" not in words


def test_without_criu_a_class_with_a_snapshot_is_served_and_the_reason_is_said(
    home: Home,
) -> None:
    script = home.script(
        """
        import rekindle
        app = rekindle.App("poor")

        @app.cls(enable_memory_snapshot=True)
        class Model:
            @rekindle.enter(snap=True)
            def load(self):
                self.n = 40

            @rekindle.method()
            def add(self, n):
                return self.n + n

        @app.local_entrypoint()
        def main():
            print(Model().add.remote(2))
        """
    )
    ended = home.run(script, REKINDLE_CRIU=str(home.root / "nowhere"))
    assert ended.out == "42\n"
    assert "CRIU" in ended.err
    assert home.snapshots() == []
