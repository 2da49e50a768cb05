"""rekindle as its users meet it: real programs, the real command line, nothing played."""
