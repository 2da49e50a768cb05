"""Tests of rekindle.bench."""
