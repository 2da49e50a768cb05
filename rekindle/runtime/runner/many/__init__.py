"""A runner that has several inputs at a time: side by side, or in batches.

Inputs come from the agent and from the connections of all clients that lease this runner
(intake.py); they are run in threads and as tasks (concurrent.py), or collected and run by one call
(batches.py). Each has a slot, which the agent gave it. Begin with serving.py. Standard library
only, as everything in a runner.
"""
