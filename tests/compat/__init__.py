"""Behaviour that programs written for Modal's client rely on, row by row of its API."""
