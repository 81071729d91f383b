"""The command line: one file per command, named after it.

A command module has `add_command`, which declares its options, and the function that runs it. Reading the options of
all commands takes milliseconds, because whatever needs a model library is imported when a command runs.

Exit codes: 0 done, 1 done in part (or a check found something), 2 bad input, 3 an error of the program, 130
interrupted, 143 ended by SIGTERM. Results go to standard output, notes and errors to standard error.
"""

from ovss.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
