"""Traces replayed through the sizing policies: what each would have cost, and which to take.

``trace`` is what is replayed, read by ``load`` (files) or ``recorded`` (the controller's record);
``simulator`` replays it, with the state in ``pools``; ``search`` tries ``settings`` and recommends.
The policies are the controller's own; nothing here knows of gRPC or Redis. Begin with ``search``.
"""
