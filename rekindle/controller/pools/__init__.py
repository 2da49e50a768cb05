"""Pools that size themselves: what is recorded of inputs and starts, settings, the autoscaler.

The policies are in ``controller/policies``.
"""
