"""Hot functions, each timed alone: `make micro`. Not a part of the tests."""
