"""What crosses process boundaries."""
