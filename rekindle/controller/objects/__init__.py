"""Objects that outlive a call, kept by name: Dict and Queue, secrets, among others.

Begin with ``service.py`` for Dict and Queue, with ``named_secrets.py`` for secrets. Nothing here
knows of inputs, agents or pools, or looks into a value.
"""
