"""Inputs from acceptance to result: durable, placed, tried again, cancelled, given up."""
