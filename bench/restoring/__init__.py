"""The parts of ``bench/restore.py``: what is measured, one file a question.

What figures are and how they are shown is in ``rekindle/bench``.
"""
