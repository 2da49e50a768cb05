"""Reads the table that ``--phases`` prints."""

from __future__ import annotations

import re


def phases(out: str, function: str) -> list[tuple[str, float, dict[str, float]]]:
    """Strategy, total and phases of a function's rows in the table of ``--phases``."""
    table = re.sub(r"\n +", " ", out.replace("\u00a0", "="))  # a long cell goes on below
    row = re.compile(rf"^{re.escape(function)} +(\w+) +([\d.]+) +(.*)$", re.M)
    found = []
    for strategy, total, text in row.findall(table):
        parts = re.findall(r"([a-z_]+)=([\d.]+)", text)
        found.append((strategy, float(total), {name: float(ms) for name, ms in parts}))
    return found
