"""Traces replayed through the sizing policies: what each would have cost, and which to take."""
