"""Snapshots of templates on disk: CRIU found or fetched, named, stored, verified and explained.

``key`` names a snapshot by all that it is made from; ``draft`` makes one, ``store`` keeps it,
``validate`` says whether it fits this machine, ``worker`` has CRIU restore it; ``mapped`` rewrites
its images so that memory is mapped and not copied. Knows nothing of gRPC, of Redis, of agents or
of who runs CRIU where. Begin with ``store``.
"""
