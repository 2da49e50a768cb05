"""Apps that stay: their versions, which of them is called, and how a former one ends."""
