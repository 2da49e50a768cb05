"""The pools of a node: their inputs and runners, what is held below these, and memory.

A pool says what it lacks and puts itself on the agenda; scheduler.py acts. Knows nothing of leases
or of the controller. Begin with pool.py; dispatcher.py hands out inputs.
"""
