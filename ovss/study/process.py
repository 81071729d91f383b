"""The process of one notebook, `python -m ovss.study.process`: it listens for the end of its batch before all else."""

import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import psutil


def main() -> int:
    """Run the task of the current folder; 0 when its sentinel is written."""
    sockets = Path(tempfile.mkdtemp(prefix="ovss-", dir="/tmp" if Path("/tmp").is_dir() else None))
    threading.Thread(target=_end_with_batch, args=(sockets,), daemon=True).start()
    # After the thread has started: these imports take seconds, in which the batch can be killed.
    from ovss.study.execute import run_task

    try:
        return run_task(sockets)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def _end_with_batch(sockets: Path) -> None:
    """Wait until the batch closes its end of the pipe, or is killed, and end with the kernel.

    A killed batch must leave no notebook behind that writes into a folder which its successor uses.
    """
    os.read(0, 1)  # not sys.stdin, whose lock would be held when the interpreter ends
    for process in psutil.Process().children(recursive=True):
        process.kill()
    shutil.rmtree(sockets, ignore_errors=True)
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
