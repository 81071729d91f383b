"""The report: a static site that works from a file path, rendered from the files of a study run.

Words of this room
    record: what `run.json` says of a run: its tasks, and the caption of each table, figure and data file.
    section: what one study notebook contributes to the first page.
    facts: the columns of a row that say what produced it; the page of origins has an entry for each distinct set.
    view: a table, figure or cell as its template reads it.
"""

__all__ = ["RECORD"]

RECORD = "run.json"
"""The record of a run, in the folder of its report."""
