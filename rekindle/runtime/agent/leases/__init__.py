"""Runners that clients call directly, past the controller."""
