"""The parts of ``bench/restore.py``: what is measured, one file a question.

What the figures are is in ``scaling``, how they are shown in ``sheets`` and ``chart``, what is
promised of them in ``promises``.
"""
