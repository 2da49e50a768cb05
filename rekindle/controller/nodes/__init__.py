"""Agents: their sessions, what they are asked for, and the runners that they lend."""
