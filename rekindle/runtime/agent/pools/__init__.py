"""The pools of a node: how many runners there are, what rests below them, the memory they share."""
