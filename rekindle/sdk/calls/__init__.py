"""Calls on their way: from arguments in the hands of the caller to values, or to a handle.

``target`` says what is called; ``invoke`` makes calls of one input (each an ``Invocation``),
``mapping`` those of many.
``result_buffer`` holds results between the background thread and the caller. Loaded by the first
remote call. Knows nothing of how functions are declared or how their code travels.
"""
