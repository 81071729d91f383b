"""Commands of `ovss` in child processes that start at once, because all they import is there: they can be killed."""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ovss.cli import main

SECONDS = 300
"""A child that takes longer hangs."""


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        code: Exit code; minus the signal that killed it.
        out: Its standard output.
        err: Its standard error.
    """

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """Last line of standard error."""
        return (self.err.splitlines() or [""])[-1]


class Child:
    """A child process that runs a function.

    Args:
        function: What it runs; returns its exit code.
        log: Its output goes to this name with ".out" and ".err".
        largest: Bytes beyond which no file can be written, as on a full disk; None: no limit.
    """

    def __init__(self, function: Callable[[], int], log: Path, largest: int | None = None) -> None:
        self.files = [log.with_suffix(ending) for ending in (".out", ".err")]
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(function, largest)

    def _run(self, function: Callable[[], int], largest: int | None) -> None:
        code = 70
        try:
            os.setsid()
            for number, file in enumerate(self.files, 1):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            # Shells start what runs in the background with SIGINT ignored, and children inherit that.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            torch.set_num_threads(1)
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            code = function()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)  # Whatever happens: what goes on after it would be a second parent.

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, seconds: float = SECONDS) -> Ended:
        """Wait for the end.

        Raises:
            AssertionError: The child hangs; it is killed.
        """
        end = self.started + seconds
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return Ended(
                    os.waitstatus_to_exitcode(status), *(file.read_text(errors="replace") for file in self.files)
                )
            if time.monotonic() > end:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"hangs: {self.files[1].read_text(errors='replace')[-2000:]}")
            time.sleep(0.005)

    def wait_or_kill(self, seconds: float, number: signal.Signals) -> Ended:
        """Wait for the end, and send the signal to the child alone where it has not come after some seconds."""
        while time.monotonic() < self.started + seconds:
            if self.ended:
                break
            time.sleep(0.002)
        else:
            os.kill(self.pid, number)
        return self.wait()


def command(words: Sequence[object], log: Path, largest: int | None = None) -> Child:
    """A child that runs a command line."""
    return Child(lambda: main(list(map(str, words))), log, largest)
