"""What this node and the controller say to each other. Begin with link.py."""
