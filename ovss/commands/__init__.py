"""Subcommands of `ovss` that have no module of their own elsewhere; each has `add_arguments` and `run`."""
