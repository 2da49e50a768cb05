"""Homes of real programs, as in tests/e2e."""
