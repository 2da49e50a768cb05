"""``python -m rekindle``: the command line, for a Python whose scripts are not on the path."""

from rekindle.cli.console import main

if __name__ == "__main__":
    main()
