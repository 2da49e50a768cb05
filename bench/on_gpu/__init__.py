"""The sections of ``bench/gpu.py``, each a module with a function ``run``."""
