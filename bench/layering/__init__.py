"""What bench/images.py measures of layers from a slow store: a function on a node that has nothing."""
