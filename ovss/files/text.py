"""Text files that a user gives: UTF-8, TOML, JSON. Whatever is wrong with one is a single line that names the file."""

import json
import tomllib
from pathlib import Path
from typing import Any

from ovss.errors import InputError

__all__ = ["check_words", "parse", "read_text", "read_toml"]

_MAX_DEPTH = 20
"""Tables or lists within each other; no file of this package needs more than four."""
_MAX_INTEGER = 2**63
"""A whole number beyond it is a slip, and printing one can take minutes."""


def read_text(path: Path, what: str) -> str:
    """Content of a text file, without a byte order mark.

    Args:
        path: The file.
        what: What it is, for messages: "class file".

    Raises:
        InputError: It is missing, not a regular file, not UTF-8, or holds NUL characters.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{what} '{path}' is not a regular file")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} '{path}' is not UTF-8 text (byte 0x{error.object[error.start]:02x} at {error.start}); "
            "save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{what} '{path}' cannot be read: {error.strerror or error}") from error
    except InputError:
        raise
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{what} '{path}' has a name that no file can have: {error}") from error
    if "\0" in text:
        raise InputError(f"{what} '{path}' holds NUL characters; save it as UTF-8 text")
    return text


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Content of a TOML file.

    Raises:
        InputError: As `read_text` and `parse`.
    """
    return parse(read_text(path, what), "TOML", f"{what} '{path}'")


def parse(text: str, language: str, where: str) -> Any:
    """Value of a text in TOML or JSON.

    Args:
        text: The text.
        language: "TOML" or "JSON".
        where: What to call it in messages: "class file 'words.toml'".

    Raises:
        InputError: It is malformed, nested too deeply, or holds a number or a string that cannot be used.
    """
    try:
        value = tomllib.loads(text) if language == "TOML" else json.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{where} is not valid {language}: {error}") from error
    except ValueError as error:
        reason = "a number has too many digits" if "digits" in str(error) else str(error)
        raise InputError(f"{where} is not valid {language}: {reason}") from error
    except RecursionError as error:
        raise InputError(f"{where} nests tables or lists more than {_MAX_DEPTH} deep") from error
    _check(value, where)
    return value


def _check(value: Any, where: str) -> None:
    """Refuse what parsers accept but later steps cannot handle."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for entry in level:
            if isinstance(entry, dict):
                below += [*entry, *entry.values()]
            elif isinstance(entry, list):
                below += entry
            elif isinstance(entry, str):
                check_words([entry], where)
            elif isinstance(entry, int) and abs(entry) >= _MAX_INTEGER:
                raise InputError(f"{where} holds a whole number beyond 2**63")
        if not below:
            return
        level = below
    raise InputError(f"{where} nests tables or lists more than {_MAX_DEPTH} deep")


def check_words(words: list[str], where: str) -> None:
    """Refuse strings that are not text: with a NUL character, or with bytes that are not UTF-8.

    Args:
        words: The strings.
        where: Whose they are, for the message.

    Raises:
        InputError: Names the first one.
    """
    for word in words:
        if "\0" in word:
            raise InputError(f"{where} holds a NUL character in '{word}'; no word or file name can")
        if any("\ud800" <= sign <= "\udfff" for sign in word):
            raise InputError(f"{where} holds bytes that are not UTF-8 in '{word}'")
