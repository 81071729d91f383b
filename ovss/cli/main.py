"""The command line: one subcommand per task, errors in one line."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, TextIO

from ovss import __version__
from ovss.errors import InputError, Terminated, printable, suggest

COMMANDS = {
    "segment": ("ovss.cli.segment", "label every pixel of your images with your words"),
    "evaluate": ("ovss.cli.evaluate", "measure methods on a data set under a protocol"),
    "rescore": ("ovss.cli.rescore", "label saved scores under other thresholds and words"),
    "reproduce": ("ovss.cli.reproduce", "run the study's notebooks and build its report"),
    "report": ("ovss.cli.report", "build the report, or the README's table, from results"),
    "methods": ("ovss.cli.methods", "list the methods, or one method's parameters and source"),
    "protocols": ("ovss.cli.protocols", "list the evaluation protocols, or show one"),
    "vocabularies": ("ovss.cli.vocabularies", "list the class vocabularies, or show one"),
    "datasets": ("ovss.cli.datasets", "say which data sets are where, or check one"),
    "ledger": ("ovss.cli.ledger", "compare published with measured numbers"),
    "bench": ("ovss.lab.timing", "measure what each method costs beside plain encode_image"),
    "train-tiny": ("ovss.training.train", "train the embedded model by its recipe"),
    "app": ("ovss.cli.app", "try your picture and words on a local page"),
    "doctor": ("ovss.cli.doctor", "check this installation"),
}
BAD_INPUT, INTERNAL, INTERRUPTED, TERMINATED = 2, 3, 130, 143
LONGEST = 2000
"""Characters of an error message; a value of a megabyte that stands in one helps nobody."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message, name the help, exit with code 2."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {_one_line(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        Exit code: 0 done, 1 done in part, 2 bad input, 3 an error of the program, 130 interrupted, 143
        ended by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    warnings.showwarning = _one_line_warning
    try:
        _check_arguments(arguments)
        return _run(arguments)
    except InputError as error:
        return _fail(error, debug, str(error), BAD_INPUT)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        words = ["ended by SIGTERM" if terminated else "interrupted", *map(str, stop.args)]
        print(_one_line(f"ovss: {'; '.join(words)}"), file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has gone; a second error while Python flushes at exit is kept quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        named = f"'{error.filename}': " if error.filename else ""
        return _fail(error, debug, f"{named}{error.strerror or error}", BAD_INPUT)
    except Exception as error:
        text = f"{type(error).__name__}: {error} (an error of ovss itself; --debug shows where)"
        return _fail(error, debug, text, INTERNAL)


def _run(arguments: list[str]) -> int:
    top = Parser(prog="ovss", description="Training-free open-vocabulary semantic segmentation with CLIP.")
    top.add_argument("--version", action="version", version=f"ovss {__version__}")
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    top.formatter_class = argparse.RawDescriptionHelpFormatter
    top.epilog = "commands:\n" + "\n".join(lines) + "\n\novss COMMAND --help shows the options of a command."
    top.add_argument("command", nargs="?", metavar="COMMAND")
    if not arguments or arguments[0].startswith("-"):
        top.parse_args([argument for argument in arguments if argument != "--debug"])
        top.print_help()
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        raise InputError(f"command '{command}' is unknown.{suggest(command, COMMANDS)}")
    module_name, text = COMMANDS[command]
    module = import_module(module_name)
    parser = Parser(prog=f"ovss {command}", description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(rest)) or 0)


def _check_arguments(arguments: list[str]) -> None:
    """No file name and no word holds a NUL character; the libraries below say so each in its own way, or not at all."""
    for argument in arguments:
        if "\0" in argument:
            raise InputError(f"argument '{argument}' holds a NUL character, which no file name or word can")


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


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
