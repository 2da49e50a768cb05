"""The parts of ``bench/starts.py``: what is measured, one file a question.

What the figures are is in ``figures``, how they are shown in ``sheets``, what is promised of them
in ``promises``.
"""
