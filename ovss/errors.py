"""Errors that a user can act on."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that names it and says what would be right."""


def suggest(name: str, options: Iterable[str]) -> str:
    """A " Did you mean 'x'?" for a misspelt name, or the list of options when nothing is near.

    Args:
        name: What the user wrote.
        options: The names that exist.

    Returns:
        A sentence with a leading blank, to be appended to an error message; empty when there are no options.
    """
    options = list(options)
    near = difflib.get_close_matches(name.lower(), [option.lower() for option in options], n=1, cutoff=0.6)
    if near:
        match = next(option for option in options if option.lower() == near[0])
        return f" Did you mean '{match}'?"
    return f" Available: {', '.join(options)}." if options else ""
