"""Objects that programs and runners share by name: Dict and Queue.

Begin with ``service.py``. Nothing here knows of inputs, agents or pools, or looks into a value.
"""
