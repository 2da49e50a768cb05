"""The terminal of a program, which its runners ask for: ``rekindle run -i``.

server.py decides who has it; user_terminal.py is the terminal itself, and passes on what is typed
and written. Knows nothing of calls; the runner's side is execution/terminal.py.
"""
