"""Runners that clients call directly, past the controller. Begin with leases.py."""
