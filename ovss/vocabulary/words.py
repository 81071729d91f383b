"""A user's own classes: from one string, a list or a file to a table of words."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovss.errors import InputError, suggest
from ovss.files.text import check_words, parse, read_text
from ovss.vocabulary.tables import list_vocabularies

BACKGROUND = "background"
_SUFFIXES = (".toml", ".json", ".txt")


def read_words(
    words: str | Path | Sequence[str | Sequence[str]], background: str | Sequence[str] | None
) -> tuple[dict[str, Any], str]:
    """Classes as a user gives them; see `ovss.load_vocabulary`.

    Returns:
        A table with `classes` (names or lists of words) and optionally `background` (words), and a name for messages.

    Raises:
        InputError: An unreadable or malformed file, more than one background, a misspelt data set.
    """
    name = "words"
    if isinstance(words, Path) or (isinstance(words, str) and Path(words).suffix in _SUFFIXES):
        table, name = _read_file(Path(words)), str(words)
    elif isinstance(words, str):
        _refuse_misspelt_dataset(words)
        parts = words.split(";")
        parts = parts[:-1] if len(parts) > 1 and not parts[-1].strip() else parts
        table = {"classes": [part if _marked(part) else part.split(",") for part in parts if words.strip()]}
    else:
        table = {"classes": list(words)}
    check_words([word for entry in table["classes"] for word in _strings(entry)], f"vocabulary '{name}'")
    classes, backgrounds = [], []
    for entry in table["classes"]:
        if isinstance(entry, str) and _marked(entry):
            backgrounds.append(entry.split(":", 1)[1].split(","))
        else:
            classes.append(entry)
    if background is not None:
        backgrounds.append(background.split(",") if isinstance(background, str) else list(background))
    if BACKGROUND in table:
        backgrounds.append(table[BACKGROUND])
    if len(backgrounds) > 1:
        raise InputError(f"vocabulary '{name}' has more than one background; put all its words into one list")
    return {"classes": classes} | ({BACKGROUND: backgrounds[0]} if backgrounds else {}), name


def _strings(entry: Any) -> list[str]:
    """The strings of one entry; whatever else it holds is refused later, by what it should be."""
    entries = entry if isinstance(entry, Sequence) and not isinstance(entry, str) else [entry]
    return [word for word in entries if isinstance(word, str)]


def _marked(part: str) -> bool:
    return re.match(rf"\s*{BACKGROUND}\s*:", part) is not None


def _refuse_misspelt_dataset(text: str) -> None:
    """A single word that is almost a data set's name is more likely a slip than a class."""
    near = difflib.get_close_matches(text.strip().lower(), list_vocabularies(), n=1, cutoff=0.8)
    if near and not {",", ";"} & set(text):
        raise InputError(
            f"there is no data set '{text.strip()}'. Did you mean '{near[0]}'? As a class, write '{text.strip()};'"
        )


def _read_file(path: Path) -> dict[str, Any]:
    text = read_text(path, "class file")
    if path.suffix == ".txt":
        return {
            "classes": [_line(path, *numbered) for numbered in enumerate(text.splitlines(), 1) if numbered[1].strip()]
        }
    table = parse(text, "TOML" if path.suffix == ".toml" else "JSON", f"class file '{path}'")
    table = {"classes": table} if isinstance(table, list) else table
    if not isinstance(table, dict) or not isinstance(table.get("classes"), list):
        raise InputError(f"class file '{path}' must hold a list called 'classes'")
    for key in table:
        if key not in ("classes", BACKGROUND):
            raise InputError(f"class file '{path}': unknown key '{key}'.{suggest(key, ('classes', BACKGROUND))}")
    return table


def _line(path: Path, number: int, line: str) -> list[str] | str:
    wrong = next((mark for mark in (";", "\t", "|") if mark in line), None)
    if wrong is not None:
        raise InputError(
            f"class file '{path}', line {number}: {wrong!r} separates no words; one class per line, synonyms by ','"
        )
    return line if _marked(line) else line.split(",")
