"""What is written for a program, on streams as users have them."""

from __future__ import annotations

import io

from rekindle.sdk import notes


def test_what_a_stream_has_no_characters_for_is_written_in_escapes() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    notes.write(stream, "Grüße, 世界", True)
    notes.write(stream, "plain", False)
    assert written.getvalue() == b"Gr\\xfc\\xdfe, \\u4e16\\u754c\nplain"
