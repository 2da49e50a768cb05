"""What bench/lazy.py measures: a layer and a snapshot from a slow store, lazy against whole."""
