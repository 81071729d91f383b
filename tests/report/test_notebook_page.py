"""Notebooks as pages of the report: code folded, markup harmless, images with their text."""

import json
import re

from report_helpers import EVIL, Page
from study_notebooks import write_notebook

from ovss.report.notebook_page import notebook_body


def test_markup_in_a_notebook_cannot_act(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", f"T {EVIL}", "x: int = 1  # x", "x")
    content = json.loads(path.read_text())
    bad = "<img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a><style>.dataframe {}</style>"
    bad += "<table><tr><td>kept</td></tr></table>"
    output = {"output_type": "display_data", "metadata": {}, "data": {"text/html": bad, "text/plain": "x"}}
    content["cells"][-1]["outputs"] = [output]
    path.write_text(json.dumps(content))
    body = str(notebook_body(path))
    page = Page(body)
    assert "script" not in page.tags
    assert page.handlers == []
    assert page.addresses == []
    assert "<td>kept</td>" in body
    assert ".dataframe" not in body


def test_the_code_of_a_notebook_is_folded_and_its_prose_is_not(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "T", "x: int = 1  # x", "print(x)")
    content = json.loads(path.read_text())
    content["cells"][0]["source"] = "# T\n\n```python\nshown\n```"
    path.write_text(json.dumps(content))
    body = str(notebook_body(path))
    folded = re.findall(r"<details><summary>Code</summary>(.*?)</details>", body, re.DOTALL)
    assert len(folded) == 2
    assert "print" in folded[1]
    assert not any("shown" in part for part in folded)


def test_folded_answers_stay_folded_and_can_do_nothing(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "T", "x: int = 1  # x", "x")
    content = json.loads(path.read_text())
    answers = f"1. Why?\n\n<details open ontoggle='alert(1)'><summary>Answers</summary>\n\n1. *So*, {EVIL}.\n</details>"
    content["cells"][0]["source"] = f"# T\n\n{answers}"
    path.write_text(json.dumps(content))
    body = str(notebook_body(path))
    folded = re.search(r"<details>\s*<summary>Answers</summary>(.*?)</details>", body, re.DOTALL)
    assert folded is not None
    assert "<em>So</em>" in folded.group(1)
    assert "Why?" not in folded.group(1)
    assert Page(body).handlers == []
    assert "script" not in Page(body).tags


def test_an_image_of_a_notebook_carries_its_text(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "T", "x: int = 1  # x", "x")
    content = json.loads(path.read_text())
    data = {"image/png": "aGVsbG8=", "text/plain": "x"}
    metadata = {"image/png": {"alt": 'Bars "of" things'}}
    content["cells"][-1]["outputs"] = [{"output_type": "display_data", "metadata": metadata, "data": data}]
    path.write_text(json.dumps(content))
    page = Page(str(notebook_body(path)))
    assert page.alts == ['Bars "of" things']
    assert page.addresses == ["data:image/png;base64,aGVsbG8="]
