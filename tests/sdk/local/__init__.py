"""Supervisor and sessions."""
