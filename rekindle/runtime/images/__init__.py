"""Images: layers built once and named by what they are made of; their files and settings.

The agent asks for an image before a template boots; the command line builds the same. Knows nothing
of gRPC, Redis, runners or templates.
"""
