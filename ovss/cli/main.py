"""The command line: one parser with a subparser per command, errors in one line, exit codes that say what happened."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from ovss import __version__
from ovss.cli import (
    app,
    atlas,
    bench,
    datasets,
    doctor,
    evaluate,
    ledger,
    methods,
    models,
    notebooks,
    protocols,
    relabel,
    report,
    reproduce,
    segment,
    train_tiny,
    vocabularies,
)
from ovss.cli import (
    list as list_command,
)
from ovss.cli.common import set_verbosity, terminable
from ovss.errors import InputError, Terminated, printable, suggest

__all__ = ["main"]

COMMANDS = {
    "segment": segment,
    "evaluate": evaluate,
    "relabel": relabel,
    "atlas": atlas,
    "reproduce": reproduce,
    "notebooks": notebooks,
    "report": report,
    "list": list_command,
    "methods": methods,
    "models": models,
    "protocols": protocols,
    "datasets": datasets,
    "vocabularies": vocabularies,
    "ledger": ledger,
    "bench": bench,
    "train-tiny": train_tiny,
    "app": app,
    "doctor": doctor,
}
"""The module of each command, in the order of the help; none of them imports a model library before it runs."""
_BAD_INPUT, _INTERNAL, _INTERRUPTED, _TERMINATED = 2, 3, 130, 143
_MAX_MESSAGE = 2000
"""Characters of an error message; a value of a megabyte that stands in one helps nobody."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and that takes --debug, --quiet and --verbose."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        show = "show the traceback of an error"
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=show)
        how_much = self.add_mutually_exclusive_group()
        for name, text in (
            ("quiet", "results, warnings and errors only"),
            ("verbose", "progress bars without a terminal"),
        ):
            how_much.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)

    def error(self, message: str) -> NoReturn:
        """Print the message, name the help, exit with code 2."""
        self.exit(_BAD_INPUT, f"{self.prog}: error: {_one_line(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        Exit code: 0 done, 1 done in part, 2 bad input, 3 an error of the program, 130 interrupted, 143
        ended by SIGTERM.
    """
    words = sys.argv[1:] if argv is None else argv
    debug = "--debug" in words
    warnings.showwarning = _one_line_warning
    try:
        _check_words(words)
        with terminable():
            return _run(words)
    except InputError as error:
        return _fail(error, debug, str(error), _BAD_INPUT)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        parts = ["ended by SIGTERM" if terminated else "interrupted", *map(str, stop.args)]
        print(_one_line(f"ovss: {'; '.join(parts)}"), file=sys.stderr)
        return _TERMINATED if terminated else _INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has gone; Python's flush at exit must not raise a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        named = f"'{error.filename}': " if error.filename else ""
        return _fail(error, debug, f"{named}{error.strerror or error}", _BAD_INPUT)
    except Exception as error:
        text = f"{type(error).__name__}: {error} (an error of ovss itself; --debug shows where)"
        return _fail(error, debug, text, _INTERNAL)


def build_parser() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the whole command line, and those of its commands by their names and aliases.

    What a parser returns has the function of its command as `run`.
    """
    top = _Parser(
        prog="ovss",
        description="Training-free open-vocabulary semantic segmentation with CLIP.",
        epilog="ovss COMMAND --help shows the options of a command.",
    )
    top.add_argument("--version", action="version", version=f"ovss {__version__}")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=_Parser)
    for module in COMMANDS.values():
        module.add_command(commands)
    return top, commands.choices


def _run(words: Sequence[str]) -> int:
    top, parsers = build_parser()
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in parsers:
        raise InputError(f"command '{command}' is unknown.{suggest(command, COMMANDS)}")
    arguments, unknown = top.parse_known_args(words)
    if unknown:
        parsers.get(arguments.command, top).error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.command is None:
        top.print_help()
        return 0
    set_verbosity(arguments)
    return arguments.run(arguments)


def _check_words(words: Sequence[str]) -> None:
    """Refuse a NUL character, which the libraries below would each refuse in their own way, or not at all."""
    for word in words:
        if "\0" in word:
            raise InputError(f"argument '{word}' holds a NUL character, which no file name or word can")


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _MAX_MESSAGE else f"{line[: _MAX_MESSAGE // 2]} ... {line[-_MAX_MESSAGE // 2 :]}"


def _fail(error: BaseException, debug: bool, text: str, code: int) -> int:
    if debug:
        raise error
    print(f"ovss: error: {_one_line(text)}", file=sys.stderr)
    return code


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, UserWarning):
        print(f"ovss: warning: {_one_line(str(message))}", file=file or sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
