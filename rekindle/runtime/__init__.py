"""The node: its agent, the ladder of strategies, isolation, and the runners themselves."""
