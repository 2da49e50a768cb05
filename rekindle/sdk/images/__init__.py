"""Images as a program declares them: bases, steps, local files, and what names each layer.

``image`` is what users see; ``chain`` keeps the steps; ``packages``, ``step_commands``,
``dockerfile`` and ``step_functions`` say what each kind of step does; ``local_files`` keeps copies
of what is sent along; ``builds`` has what is missing built. Knows nothing of layers on disk: that
is runtime/images. Begin with ``image``.
"""
