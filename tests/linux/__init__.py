"""Tests of rekindle/linux."""
