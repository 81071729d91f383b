"""What runs at the moment, for the person at the terminal."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from ovss.errors import printable

WAITING, RUNNING, DONE, CURRENT, FAILED, BLOCKED = "waiting", "running", "done", "up to date", "failed", "blocked"


@dataclass
class Status:
    """State of one task while the batch runs.

    Attributes:
        id: Name of the task.
        state: One of the words of this module.
        cell: Cell that runs now, counted from 1.
        cells: Number of cells.
        seconds: Time taken, once it is known.
        started: Clock when it started.
    """

    id: str
    state: str = WAITING
    cell: int = 0
    cells: int = 0
    seconds: float = 0.0
    started: float = field(default=0.0, repr=False)

    def line(self, width: int) -> str:
        """The status as one line of a table."""
        seconds = time.monotonic() - self.started if self.state == RUNNING else self.seconds
        cells = f"cell {self.cell}/{self.cells}" if self.state == RUNNING and self.cells else ""
        time_taken = f"{seconds:7.1f} s" if seconds else ""
        return f"  {printable(self.id):<{width}}  {self.state:<10}  {cells:<12}  {time_taken}".rstrip()


class Display:
    """A table that is redrawn in place on a terminal; elsewhere one line per change of state.

    Args:
        stream: Where to write; None is standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._drawn = 0
        self._seen: dict[str, str] = {}
        self._last = 0.0

    def show(self, statuses: Sequence[Status], final: bool = False) -> None:
        """Bring the display up to date.

        Args:
            statuses: All tasks, in order.
            final: Draw even when the last drawing was a moment ago.
        """
        width = max((len(status.id) for status in statuses), default=0)
        if not self._live:
            for status in statuses:
                if self._seen.get(status.id, WAITING) != status.state:
                    print(status.line(width), file=self._stream, flush=True)
                self._seen[status.id] = status.state
            return
        if not final and time.monotonic() - self._last < 0.2:
            return
        self._last = time.monotonic()
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        lines = "".join(f"\x1b[2K{status.line(width)}\n" for status in statuses)
        print(up + lines, end="", file=self._stream, flush=True)
        self._drawn = len(statuses)
