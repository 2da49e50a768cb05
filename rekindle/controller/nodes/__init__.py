"""Agents: gateway.py serves their streams, agents.py keeps their sessions, inbox.py takes what they
say, orders.py and leasing.py what they are asked for, questions.py what they have not answered yet.
Begin with gateway.py. Places no input.
"""
