"""What is killed and what is damaged: users get right answers or clear errors all the same."""
