"""What this node and the controller say to each other.

``link`` keeps the stream up and takes orders from it, ``outbox`` is what waits to be told, and
``report`` what each heartbeat says of the node, ``gpu_report`` of its GPUs. Decides nothing about
pools and runners. Begin with ``link``.
"""
