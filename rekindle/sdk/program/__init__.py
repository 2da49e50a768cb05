"""The code of a program and how it gets to runners: by name with its source, or by value.

Begin with ``registration``: it makes the request that registers an app. Reads code
and pickles it; makes no requests.
"""
