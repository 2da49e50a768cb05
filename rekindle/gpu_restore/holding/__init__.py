"""Weights that stay on a GPU: a process keeps them there, runners have them by shared memory."""
