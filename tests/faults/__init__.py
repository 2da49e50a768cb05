"""What is killed and what is damaged, and that users get right answers or clear errors all the same."""
