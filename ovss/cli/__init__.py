"""The command line: one file per command."""

from ovss.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
