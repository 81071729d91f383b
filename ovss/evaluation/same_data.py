"""A run goes on only on the data it began with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovss.errors import InputError

QUESTION = ("dataset", "split", "model", "protocol", "reading")
"""What two runs of the same measurement have in common."""


def refuse_other_data(out: Path, run_file: str, facts: Mapping[str, Any]) -> None:
    """Refuse to mix results on data that changed since a run was finished in the same folder.

    Args:
        out: Folder of the run.
        run_file: Name of the file that a finished run left there.
        facts: Of the run that is to come: the names in `QUESTION` and `dataset_fingerprint`.

    Raises:
        InputError: A run with equal names in `QUESTION` has another fingerprint.
    """
    try:
        former = json.loads((out / run_file).read_text(encoding="utf-8"))["facts"]
        same = all(former.get(name) == facts[name] for name in QUESTION if name in former)
        found = former["dataset_fingerprint"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return  # no finished run, or one that cannot be read and is not used
    now = facts["dataset_fingerprint"]
    if same and found != now:
        raise InputError(
            f"'{out}' holds a run on {facts['dataset']} whose data were others: fingerprint {str(found)[:16]} then, "
            f"{now[:16]} now; images, masks or the way they are read changed. Give another folder (--out), or remove "
            f"this one"
        )
