"""Well-known libraries in templates and in runners: what they do at a fork, what they replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.agent.starts import copies


class Draws:
    """matplotlib keeps font files open, and closes them at a fork."""

    def load(self) -> None:
        import matplotlib

        matplotlib.use("Agg")
        self.first = self.drawn()

    def drawn(self) -> str:
        import hashlib

        from matplotlib import pyplot

        figure, axes = pyplot.subplots()
        axes.plot([1, 3, 2])
        axes.set_title("rekindle")
        figure.canvas.draw()
        pixels = hashlib.sha256(figure.canvas.buffer_rgba()).hexdigest()
        pyplot.close(figure)
        return pixels

    def same(self) -> bool:
        return self.drawn() == self.first


@pytest.mark.criu
def test_copies_of_a_process_in_which_matplotlib_has_drawn_draw_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    home = tmp_path / "home"
    monkeypatch.setenv("REKINDLE_HOME", str(home))
    assert all(copies.all_of(copies.say(home, Draws, "same")))
