"""The pools of a node: their inputs and runners, and what is held below these.

A pool says what it lacks and puts itself on the agenda; scheduling/scheduler.py acts. Knows nothing
of leases or of the controller. Begin with pool.py; dispatcher.py hands out inputs.
"""
