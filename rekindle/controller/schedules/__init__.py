"""Functions of deployed apps that run by themselves, at their times."""
