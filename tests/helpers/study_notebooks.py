"""Small study notebooks for tests of the batch: they run in a second and write real tables and figures."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TABLE = """
import time
import pandas as pd
from ovss.lab.outputs import Outputs
outputs = Outputs(out)
time.sleep(pause)
if fail:
    raise ValueError("planted failure")
frame = pd.DataFrame({"dataset": dataset, "method": ["<b>clip</b>", "naclip"], "mIoU": [10.0 + offset, 20.25]})
outputs.table("results", frame, f"Two rows for {dataset}.")
"""
FIGURE = """
from matplotlib.figure import Figure
figure = Figure(figsize=(3, 2), layout="constrained")
figure.subplots().bar(frame["method"], frame["mIoU"])
outputs.figure("bars", figure, "naclip is above clip.", "Bar chart: clip 10, naclip 20.25.");
outputs.timing("seconds", pd.DataFrame({"step": ["all"], "seconds": [time.perf_counter()]}), "Seconds.");
"""
READER = """
import pandas as pd
from pathlib import Path
from ovss.lab.outputs import Outputs
rows = pd.concat([pd.read_csv(Path(folder) / "results.csv") for folder in results], ignore_index=True)
Outputs(out).table("total", pd.DataFrame({"rows": [len(rows)]}), "Rows read.")
"""


def write_notebook(path: Path, title: str, parameters: str, *code: str, **about: object) -> Path:
    """A notebook of a heading, a parameters cell and code cells."""
    cells = [new_markdown_cell(f"# {title}"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(text.strip()) for text in code]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.metadata["ovss"] = about
    nbformat.write(notebook, path)
    return path


def write_study(folder: Path) -> Path:
    """Two notebooks: one per data set that writes a table and a figure, one that reads all those tables."""
    notebooks = folder / "notebooks"
    notebooks.mkdir(parents=True)
    parameters = (
        'out: str = ""  # output folder\ndataset: str = "a"  # data set\npause: float = 0.0  # seconds\n'
        "fail: bool = False  # raise\noffset: float = 0.0  # added to a number"
    )
    write_notebook(notebooks / "22_table.ipynb", "Which is best?", parameters, TABLE, FIGURE)
    reading = 'out: str = ""  # output folder\nresults: list = []  # folders of tables'
    write_notebook(notebooks / "25_total.ipynb", "How many rows?", reading, READER, after=["22"])
    return notebooks


CONFIG = """
name = "demo"
title = "A <script>alert(1)</script> study"
methods = ["clip", "naclip"]
protocols = ["study"]
[[models]]
model = "tiny"
[[datasets]]
name = "scenes"
[[datasets]]
name = "voc21"
root = "nowhere"
"""


def write_config(folder: Path, more: str = "") -> Path:
    """A configuration with two data sets, one of which is not there (the small notebooks do not read it)."""
    path = folder / "demo.toml"
    path.write_text(CONFIG + more, encoding="utf-8")
    return path
