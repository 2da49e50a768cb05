"""What the SDK and a runner share about the code of a user: where it is found, and how it runs.

Standard library only, since templates load it. Knows nothing of gRPC, of the SDK or of agents.
Begin with ``context``: it says where the code runs, and for which input.
"""
