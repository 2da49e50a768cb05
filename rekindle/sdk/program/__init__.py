"""The code of a program and how it gets to runners: by name with its source, or by value.

Begin with ``registration``: it puts together all that a controller is told of an app. Reads code
and pickles it; makes no requests.
"""
