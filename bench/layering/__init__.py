"""What bench/images.py measures of layers from a slow store, on nodes that have nothing."""
