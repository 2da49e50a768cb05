"""Objects that outlive a call, kept by name: secrets, among others.

Begin with ``named_secrets.py``. Nothing here knows of inputs, agents or pools.
"""
