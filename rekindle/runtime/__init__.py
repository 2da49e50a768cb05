"""What runs on a node: the agent, the sandboxes it starts processes in, and the runners.

``agent`` decides and speaks to the controller; ``isolation`` makes namespaces and holds them;
``runner`` is what runs inside them, around the user's code; ``doctor`` says what this machine can
do. Only the agent knows all of it: the others know neither it nor each other. Begin with ``agent``.
"""
