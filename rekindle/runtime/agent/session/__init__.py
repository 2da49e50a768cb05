"""What is said between this node and the controller."""
