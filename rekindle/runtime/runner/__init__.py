"""Inside a template and a runner: load the user's code, become unique, run inputs.

Imports the standard library and cloudpickle only, before user code.
"""
