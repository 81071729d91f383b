import csv
import io
import json

import pandas as pd
import pytest

from ovss.files.tables import interval_words, to_csv, to_json, to_latex, to_markdown, with_interval


@pytest.fixture
def table():
    return pd.DataFrame({"method": ["a|b_1", "50 %"], "mIoU": [12.34567, float("nan")], "images": [3, 4]})


def test_csv_has_fixed_decimals_and_empty_cells_for_missing_numbers(table):
    assert to_csv(table) == "method,mIoU,images\na|b_1,12.3457,3\n50 %,,4\n"


def test_csv_quotes_what_needs_quotes():
    cells = ['{"sigma": 5.0, "arch": "reduced"}', "two\nlines"]
    rows = list(csv.reader(io.StringIO(to_csv(pd.DataFrame({"x": cells})))))
    assert rows == [["x"], [cells[0]], [cells[1]]]


def test_markdown_aligns_numbers_and_escapes_bars(table):
    assert to_markdown(table).splitlines() == [
        "| method | mIoU | images |",
        "| --- | ---: | ---: |",
        r"| a\|b_1 | 12.35 | 3 |",
        "| 50 % | - | 4 |",
    ]


def test_latex_escapes_every_special_character():
    text = to_latex(pd.DataFrame({"a_b": ["50 % & $x^2$ # {y} ~ \\z"], "n": [1.5]}))
    assert r"a\_b & n \\" in text
    assert r"50 \% \& \$x\textasciicircum{}2\$ \# \{y\} \textasciitilde{} \textbackslash{}z & 1.50 \\" in text
    assert text.startswith("\\begin{tabular}{lr}\n\\toprule")
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")


def test_json_keeps_numbers_in_full_and_missing_ones_as_null(table):
    assert json.loads(to_json(table)) == [
        {"method": "a|b_1", "mIoU": 12.34567, "images": 3},
        {"method": "50 %", "mIoU": None, "images": 4},
    ]


def test_an_interval_stands_beside_its_number():
    assert with_interval(54.321, 52.06, 56.66) == "54.3 [52.1, 56.7]"


def test_a_number_without_interval_says_why():
    assert with_interval(54.321, float("nan"), float("nan")) == "54.3 [too few images for an interval]"
    assert interval_words(float("nan"), float("nan")) == "too few images for an interval"
    assert interval_words(-1.26, 3.0, sign="+") == "-1.3 to +3.0"
