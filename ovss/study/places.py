"""Where a study reads and writes: notebooks and the folder of the report. No library is loaded to refuse them."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ovss.errors import InputError, suggest
from ovss.files import atomic_write
from ovss.report import RECORD

__all__ = ["INDEX", "copy_notebooks", "find_notebooks", "named", "prepare_folder", "shipped_notebooks"]

INDEX = "index.html"
STATE = ".state"
"""Folder inside a report that holds working files: one folder per task, and the evaluation runs that tasks share."""
_NOTEBOOKS = "notebooks"
_STUDY = "2[0-9]_*.ipynb"
_SHIPPED = ("*.ipynb", "solutions/*.py")
"""Walkthroughs, study templates and solutions; setup.py puts the same into a wheel."""


def shipped_notebooks() -> Path:
    """Folder of the walkthroughs and study templates: inside an installed package, beside it in a clone.

    Raises:
        InputError: It is in neither place.
    """
    package = Path(str(resources.files("ovss")))
    places = [package / _NOTEBOOKS, package.parent / _NOTEBOOKS]
    for place in places:
        if any(place.glob(_STUDY)):
            return place
    raise InputError(f"the notebooks of ovss are in neither '{places[0]}' nor '{places[1]}'; reinstall ovss")


def find_notebooks(folder: Path | None = None) -> list[Path]:
    """Study notebooks (names that start with 2 and another digit), in order.

    Args:
        folder: Where they are; None looks in `./notebooks`, then takes those that came with the package.

    Raises:
        InputError: There are none.
    """
    here = folder or Path(_NOTEBOOKS)
    found = _files(here, [_STUDY])
    if not found and folder is None:
        found = _files(shipped_notebooks(), [_STUDY])
    if not found:
        raise InputError(f"no study notebooks (2x_*.ipynb) in '{here}'")
    return found


def named(prefix: str, stems: Sequence[str]) -> list[str]:
    """Names of study notebooks that begin with what a user gave, such as "22".

    Raises:
        InputError: None does.
    """
    found = [stem for stem in stems if stem.startswith(prefix)]
    if not found:
        raise InputError(f"no study notebook is called '{prefix}'.{suggest(prefix, stems)}")
    return found


def prepare_folder(out: Path) -> None:
    """Create a report's folder, or make sure that it is one.

    Raises:
        InputError: It is a file, cannot be created, or holds other things.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = {RECORD, STATE, INDEX}
        content = {path.name for path in out.iterdir()}
        if content and not content & known:
            raise InputError(f"'{out}' is not empty and holds no report; give --out a new folder")
        (out / STATE).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write the report to '{out}': {error.strerror}") from error


def copy_notebooks(target: Path, *, replace: bool = False) -> list[Path]:
    """Copy walkthroughs, solutions and study templates into a folder, to be read, run and changed there.

    Args:
        target: Folder; it is created.
        replace: Whether files that were changed there are replaced.

    Returns:
        The files written; those that are there already, unchanged, are not among them.

    Raises:
        InputError: A file of one of their names is there and differs (nothing is written then), or the folder cannot
            be written.
    """
    source = shipped_notebooks()
    try:
        texts = {target / path.relative_to(source): path.read_bytes() for path in _files(source, _SHIPPED)}
        wanted = {path: text for path, text in texts.items() if not path.exists() or path.read_bytes() != text}
        changed = [path for path in wanted if path.exists()]
        if changed and not replace:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise InputError(f"'{changed[0]}'{more} differs from what would be written; --force replaces it")
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(text)
    except OSError as error:
        raise InputError(f"cannot write notebooks to '{error.filename or target}': {error.strerror}") from error
    return list(wanted)


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
