"""A small report as a run would write it, with hostile words in it, and a reader of its pages."""

import html.parser
import json

import pandas as pd
from PIL import Image
from study_notebooks import write_notebook

from ovss.lab.outputs import write_table

EVIL = "<script>alert('x')</script>&\"'"
RESULTS = pd.DataFrame(
    {
        "method": ["clip", EVIL],
        "mIoU": [10.0, 20.256],
        "mIoU_low": [9.0, 19.0],
        "mIoU_high": [11.0, 21.5],
        "mAcc": [20.0, 30.0],
        "mAcc_low": [19.0, 29.0],
        "mAcc_high": [21.0, 31.0],
        "pAcc": [30.0, 40.0],
        "pAcc_low": [29.0, 39.0],
        "pAcc_high": [31.0, 41.0],
        "images": [7, 7],
        "parameters": ["{}", '{"sigma": 2.0}'],
        "model": ["tiny", "tiny"],
        "pretrained": ["shipped", "shipped"],
        "dataset": ["scenes", "scenes"],
        "protocol": ["study", "study"],
        "weights_hash": ["abc123", "abc123"],
        "torch": ["2.0", "2.0"],
    }
)


def write_run(folder, images=None, evil=EVIL):
    """Files of a run with one notebook, one table, one figure, and what the record says of them."""
    for name in ("tables", "timings", "figures", "data", "notebooks"):
        (folder / name).mkdir(parents=True)
    write_table(folder / "tables" / "results", RESULTS.replace(EVIL, evil))
    write_table(folder / "tables" / "runs", pd.DataFrame({"key": ["k" * 64], "weights_hash": ["abc123"]}))
    Image.new("RGB", (40, 20)).save(folder / "figures" / "bars.png")
    (folder / "figures" / "bars.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    write_notebook(folder / "notebooks" / "22_table.ipynb", "Which is best?", "x: int = 1  # x", "print(x)")
    note = {"caption": f"Best is {evil}.", "tasks": ["22_table"]}
    joined = note | {"captions": [note["caption"]]}
    joined["rows"] = [2]
    captions = {"tables": {"results": joined, "runs": joined | {"rows": [1]}}, "timings": {}, "data": {}}
    captions["figures"] = {"bars": note | {"alt": f"Bars of {evil}"}}
    if images is not None:
        captions["data"]["explorer"] = note
        (folder / "data" / "explorer.json").write_text(json.dumps(images))
    task = {"id": "22_table", "title": f"Which is {evil}?", "notebook": "notebooks/22_table.ipynb", "state": "done"}
    task |= {"seconds": 1.5, "digest": "0" * 64, "parameters": {}, "after": []}
    missing = task | {"id": "23_more", "title": "More", "notebook": None, "state": "not run", "seconds": None}
    record = {"study": "demo", "title": f"A {evil} study", "description": evil, "ovss": "0", "digest": "f" * 64}
    record |= {"versions": {"python": "3", "torch": "2"}, "machine": {"system": "S", "processor": "P", "cores": 2}}
    record |= {"captions": captions, "tasks": [task, missing], "methods": ["clip"]}
    (folder / "run.json").write_text(json.dumps(record))
    return record


class Page(html.parser.HTMLParser):
    """Elements, identifiers and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.addresses, self.handlers, self.alts = [], set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            if name in ("href", "src"):
                self.addresses.append(value)
            if name == "alt":
                self.alts.append(value)
            if name.startswith("on"):
                self.handlers.append(name)
