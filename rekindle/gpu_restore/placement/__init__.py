"""Which GPUs a request gets, over one node or several. Pure: no driver, no process, no clock.

Begin with devices.py (what there is and who holds it), then options.py (all that would do),
packing.py (which is best) and preemption.py (who makes room). line.py says who may go first.
"""
