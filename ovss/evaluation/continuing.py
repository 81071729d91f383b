"""What must not be resumed: folders of runs on other data, or under an older meaning of a protocol's name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovss.backbone import Backbone
from ovss.datasets import Dataset
from ovss.errors import InputError
from ovss.evaluation.records import write_bytes
from ovss.evaluation.written import RUN_FILE
from ovss.files import read_sealed_json, sealed_json
from ovss.protocols import Protocol

_QUESTION = ("dataset", "split", "model", "protocol", "reading")
"""What two runs of the same measurement have in common."""
_START_FILE = "started.json"


def check_resumable(folder: Path, dataset: Dataset, protocol: Protocol, backbone: Backbone) -> None:
    """Refuse a folder whose results a run would continue as if nothing had changed.

    Args:
        folder: Where the run is to resume; it need not exist.
        dataset: Data of the run.
        protocol: Resolved for the data set.
        backbone: Model of the run.

    Raises:
        InputError: The folder holds a run under an older protocol of this name, or on files that changed since.
    """
    _refuse_older_sclip(folder, protocol)
    if dataset.reading:
        facts = {
            "dataset": dataset.name,
            "split": dataset.split,
            "reading": dataset.reading,
            "dataset_fingerprint": dataset.fingerprint,
            "model": backbone.name,
            "protocol": protocol.name,
        }
        _refuse_other_data(folder, facts)


def _refuse_older_sclip(folder: Path, protocol: Protocol) -> None:
    """Refuse to resume under `sclip` in a folder that was made when the name stood for other values.

    Before run folders had a format, `sclip` was the common ground of the papers since SCLIP, now `window224`. A run
    that resumes would replace the tables there by those of another experiment under the same name.

    Args:
        folder: Where the run is to resume; it need not exist.
        protocol: Resolved for the data set.

    Raises:
        InputError: The folder holds such a run; says what changed and what to do.
    """
    if protocol.name != "sclip":
        return
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        name, made_under = run["facts"]["protocol"], str(run["facts"]["protocol_hash"])
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return  # Not a finished run; an unfinished one has only records, which another protocol never uses.
    if name == "sclip" and "format" not in run and made_under != protocol.hash:
        raise InputError(
            f"'{folder}' holds a run under an older protocol 'sclip' (hash {made_under[:12]}, today's "
            f"{protocol.hash[:12]}): the name now stands for SCLIP's own setting (VOC21 scale 65 and area rule 0.1, "
            "Context60 and COCO-Object scale 50, COCO-Stuff short side 448) and what it stood for is 'window224'; "
            "use --protocol window224, or another folder for today's 'sclip'"
        )


def note_start(records: Path, facts: Mapping[str, Any]) -> None:
    """Say beside the records of a run, before there is one, what they are of, so that an interrupted run is bound to
    its data as a finished one is.

    Args:
        records: Folder of the run's records.
        facts: See `facts_of`.

    Raises:
        InputError: The file cannot be written.
    """
    write_bytes(records / _START_FILE, sealed_json({"facts": facts}))


def _refuse_other_data(folder: Path, facts: Mapping[str, Any]) -> None:
    """Refuse to mix results on data that changed since a run began or was finished in the same folder.

    Args:
        folder: Folder of the run.
        facts: Of the coming run: the names in `_QUESTION` and `dataset_fingerprint`.

    Raises:
        InputError: A run with equal names in `_QUESTION` has another fingerprint.
    """
    for note in (folder / RUN_FILE, *sorted(folder.glob(f"records/*/{_START_FILE}"))):
        try:
            former = read_sealed_json(note)["facts"]
            same = all(former.get(name) == facts[name] for name in _QUESTION if name in former)
            found = former["dataset_fingerprint"]
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            continue  # None, or a damaged one: records say themselves which data they are of.
        now = facts["dataset_fingerprint"]
        if same and found != now:
            raise InputError(
                f"'{folder}' holds a run on {facts['dataset']} whose data were others: fingerprint {str(found)[:16]} "
                f"then, {now[:16]} now; images, masks or the way they are read changed. Give another folder (--out), "
                f"or remove this one"
            )
