"""The command line: parses, calls, prints."""

from tfgma.cli.main import main

__all__ = ["main"]
