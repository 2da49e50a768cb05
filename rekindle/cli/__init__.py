"""The command line. ``main`` loads the module of a command when it is used.

``operator`` is the way to the instance that is up, ``refs`` from FILE::NAME to a function,
``tables`` how things are shown, ``failure`` how errors are. Nothing else imports this package.
"""
