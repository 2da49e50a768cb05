"""The inputs on this node: taken in, dealt to runners, watched, and what became of them."""
