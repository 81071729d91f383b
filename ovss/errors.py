"""Errors that a user can act on."""

import difflib
import unicodedata
from collections.abc import Iterable
from textwrap import shorten

__all__ = ["InputError", "Terminated", "first_line", "printable", "suggest"]

_REASON = 120
"""Characters of a library's message that are shown within one of ours."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that names it and says what would be right.

    Example:
        >>> from ovss import InputError, load_protocol
        >>> try:
        ...     load_protocol("sclp")
        ... except InputError as error:
        ...     print(error)
        protocol 'sclp' is unknown. Did you mean 'sclip'? A protocol of your own is given by its .toml file.
    """


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


def suggest(name: str, options: Iterable[str], otherwise: str = "") -> str:
    """A " Did you mean 'x'?" for a misspelt name, or the list of options when nothing is near.

    Args:
        name: What the user wrote.
        options: The names that exist.
        otherwise: Where all options stand, when they are too many for a line.

    Returns:
        A sentence with a leading blank, to be appended to an error message; empty when there are no options.

    Example:
        >>> suggest("naklip", ["clip", "naclip"])
        " Did you mean 'naclip'?"
        >>> suggest("attention", ["clip", "naclip"])
        ' Available: clip, naclip.'
    """
    options = list(options)
    near = difflib.get_close_matches(name.lower(), [option.lower() for option in options], n=1, cutoff=0.6)
    if near:
        match = next(option for option in options if option.lower() == near[0])
        return f" Did you mean '{match}'?"
    if otherwise:
        return f" {otherwise[0].upper()}{otherwise[1:]}."
    return f" Available: {', '.join(options)}." if options else ""


def first_line(error: BaseException) -> str:
    """The first line of a library's message, cut between words; the name of the error where it says nothing.

    Example:
        >>> first_line(OSError("no such repository\\nTraceback ...")), first_line(TimeoutError())
        ('no such repository', 'TimeoutError')
    """
    line = next(iter(str(error).splitlines()), "")
    return shorten(line, _REASON, placeholder=" ...") or type(error).__name__


def printable(text: str) -> str:
    """Text that a terminal shows without obeying it.

    Control characters (an escape sequence in a file name can clear the screen or rewrite what stands above), marks that
    turn the direction of writing, and bytes of file names that are not text appear as Python writes them; a line break
    stays.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(sign) for sign in text)


def _shown(sign: str) -> str:
    if sign == "\n" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return sign
    return sign.encode("unicode_escape", "surrogatepass").decode() if ord(sign) < 0xD800 else ascii(sign)[1:-1]
