"""Folders of runs that older versions made, and that must not be continued as if nothing had changed."""

import json
from pathlib import Path

from ovss.errors import InputError
from ovss.evaluation.results import RUN_FILE
from ovss.protocols import Protocol


def refuse_older_sclip(folder: Path, protocol: Protocol) -> None:
    """Refuse to go on under `sclip` in a folder that was made when the name stood for other values.

    Before run folders had a format, `sclip` was the common ground of the papers since SCLIP, now `window224`. A run
    that goes on would replace the tables there by those of another experiment under the same name.

    Args:
        folder: Where the run is to go on; it need not exist.
        protocol: Resolved for the data set.

    Raises:
        InputError: The folder holds such a run; says what changed and what to do.
    """
    if protocol.name != "sclip":
        return
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        name, made_under = run["facts"]["protocol"], str(run["facts"]["protocol_hash"])
    except (OSError, ValueError, TypeError, KeyError):
        return  # Not a finished run; an unfinished one has only records, which another protocol never uses.
    if name == "sclip" and "format" not in run and made_under != protocol.hash:
        raise InputError(
            f"'{folder}' holds a run under an older protocol 'sclip' (hash {made_under[:12]}, today's "
            f"{protocol.hash[:12]}): the name now stands for SCLIP's own setting (VOC21 scale 65 and area rule 0.1, "
            "Context60 and COCO-Object scale 50, COCO-Stuff short side 448) and what it stood for is 'window224'; "
            "use --protocol window224, or another folder for today's 'sclip'"
        )
