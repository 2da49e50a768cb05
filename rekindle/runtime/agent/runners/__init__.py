"""Runners and templates as their agent sees them: processes, their channels, their output."""
