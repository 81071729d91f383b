"""The report site: self-contained, escaped, every number with its origin, and the README rendered from its tables."""

import re

import nbformat
import pandas as pd
import pytest
from report_helpers import EVIL, RESULTS, Page, write_run
from study_notebooks import write_config, write_notebook

from ovss.errors import InputError
from ovss.lab.outputs import write_table
from ovss.report.provenance import Provenance
from ovss.report.readme import results_markdown
from ovss.report.site import build_site, rebuild_site
from ovss.report.tables import table_view
from ovss.study.config import load_config
from ovss.study.plan import find_templates
from ovss.study.run import run_study


@pytest.fixture
def site(tmp_path):
    """A built site and its record."""
    record = write_run(tmp_path)
    build_site(tmp_path, record)
    return tmp_path


def test_words_of_users_are_escaped_everywhere(site):
    for name in ("index.html", "provenance.html", "notebooks/22_table.html"):
        text = (site / name).read_text()
        assert "<script>alert" not in text
        page = Page(text)
        assert page.handlers == []
        assert page.tags.count("script") == 1
    assert "&lt;script&gt;alert" in (site / "index.html").read_text()


def test_pages_ask_for_nothing_outside_the_folder_and_every_link_leads_somewhere(site):
    for path in site.rglob("*.html"):
        for address in Page(path.read_text()).addresses:
            assert not address.startswith(("http:", "https:", "//"))
            if address.startswith("data:"):
                continue
            name, _, anchor = address.partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.is_file(), address
            if anchor:
                assert anchor in Page(target.read_text()).ids, address


def test_pages_forbid_scripts_and_styles_of_their_own_text(site):
    for path in site.rglob("*.html"):
        text = path.read_text()
        (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert not re.search("unsafe|http|\\*", policy)
        assert text.index(policy) < text.index('<link rel="stylesheet"'), "it holds for what comes after it"
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*(?: src=| type=\"application/json\"))", text)


def test_each_number_links_to_what_produced_it(site):
    index, origin = (site / "index.html").read_text(), (site / "provenance.html").read_text()
    links = [address for address in Page(index).addresses if address.startswith("provenance.html#")]
    assert len(set(links)) == 2
    assert len(links) == 6
    assert "abc123" in origin
    assert "sigma 2.0" in origin
    assert len(Page(origin).ids & {address.partition("#")[2] for address in links}) == 2


NUMBERS = """
import pandas as pd
from ovss.lab.outputs import Outputs
outputs = Outputs(out)
outputs.table("runs", pd.DataFrame({"key": ["k" * 64, name], "weights_hash": "abc", "model": "tiny"}), "Runs.")
frame = pd.DataFrame({"setting": [f"{name} 1", f"{name} 2"], "mIoU": [start + 0.25, start + 0.75]})
outputs.table(name, frame.assign(key=["k" * 64, name]), "Numbers.")
outputs.table("results", frame.assign(method=name, weights_hash="abc"), "Joined numbers.")
frame["mIoU"].tolist()
"""


@pytest.mark.slow
def test_every_number_leads_to_the_notebook_whose_outputs_hold_it(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for stem, start in (("21_first", 10.0), ("22_second", 20.0), ("23_third", 30.0)):
        parameters = f'out: str = ""  # folder\nname: str = "{stem[3:]}"  # name\nstart: float = {start}  # number'
        write_notebook(tmp_path / "notebooks" / f"{stem}.ipynb", stem, parameters, NUMBERS)
    config = load_config(write_config(tmp_path))
    result = run_study(config, tmp_path / "report", find_templates(tmp_path / "notebooks"), jobs=2)
    assert result.failures == []
    index, origin = ((tmp_path / "report" / name).read_text() for name in ("index.html", "provenance.html"))
    links = re.findall(r'<a href="provenance\.html#(p-[^"]+)">([\d.]+)</a>', index)
    # Each notebook shows its own table; the joined one is shown under each of them.
    assert {number for _, number in links} == {f"{start}.{part}" for start in (10, 20, 30) for part in ("25", "75")}
    for anchor, number in links:
        page = re.search(rf'id="{anchor}".*?href="([^"]+)"', origin, re.DOTALL).group(1)
        notebook = nbformat.read((tmp_path / "report" / page).with_suffix(".ipynb"), as_version=4)
        printed = notebook.cells[-1].outputs[-1].data["text/plain"]
        assert number in re.split(r"[\[\], ]+", printed), f"{number} is linked to {page}, which printed {printed}"


def test_the_origin_of_a_number_says_how_its_data_set_was_read():
    provenance = Provenance()
    frame = RESULTS.assign(reading="as distributed, 2 images checked", notebook="n.html")
    view = table_view("results", frame, "c", "f", provenance)
    assert {facts["reading"] for facts in provenance.entries.values()} == {"as distributed, 2 images checked"}
    assert "reading" not in [name for name, _ in view.columns]


def test_rows_that_name_an_evaluation_link_to_it():
    provenance = Provenance()
    for notebook in ("n.html", "m.html"):  # two notebooks may use one evaluation
        provenance.add_run({"key": "k" * 64, "weights_hash": "abc", "model": "tiny", "notebook": notebook})
    frame = pd.DataFrame({"setting": ["a", "b", "c"], "mIoU": [1.0, 2.0, 3.0], "key": ["k" * 64, "k" * 64, "other"]})
    view = table_view("t", frame.assign(notebook=["n.html", "m.html", "n.html"]), "c", "f", provenance)
    first, second, none = (row[1].link for row in view.rows)
    assert none is None
    makers = [provenance.entries[link.partition("#p-")[2]]["notebook"] for link in (first, second)]
    assert makers == ["n.html", "m.html"]


def test_a_value_is_shown_with_its_interval_and_sorted_by_its_number(site):
    view = table_view("results", RESULTS.assign(notebook="n"), "c", "f", Provenance())
    assert [name for name, _ in view.columns] == ["method", "mIoU", "mAcc", "pAcc"]
    assert view.same == [
        ("model", "tiny"),
        ("pretrained", "shipped"),
        ("dataset", "scenes"),
        ("protocol", "study"),
        ("images", "7"),
    ]
    cell = view.rows[1][1]
    assert (cell.text, cell.note, cell.key) == ("20.3", "19.0 to 21.5", "20.256")


def test_protocols_of_one_name_and_two_contents_look_different_in_tables_and_readme(tmp_path):
    frame = RESULTS.assign(protocol_hash=["0123456789", "abcdef0123"], set_per_dataset=["", "threshold"], notebook="n")
    view = table_view("results", frame, "c", "f", Provenance())
    columns = [name for name, _ in view.columns]
    cells = [dict(zip(columns, (cell.text for cell in row), strict=True)) for row in view.rows]
    assert [row["protocol"] for row in cells] == ["study 01234567", "study abcdef01"]
    assert [row["set per dataset"] for row in cells] == ["none", "threshold"]
    same = table_view("results", frame.assign(protocol_hash="0123456789"), "c", "f", Provenance())
    assert ("protocol", "study 01234567") in same.same
    write_run(tmp_path / "report")
    frame.to_parquet(tmp_path / "report" / "tables" / "results.parquet")
    text = results_markdown(tmp_path / "report")
    assert text.index("protocol `study 01234567`") < text.index("| `clip` |") < text.index("protocol `study abcdef01`")


def test_filters_offer_the_columns_that_have_something_to_choose(site):
    frame = pd.concat([RESULTS, RESULTS.assign(dataset="voc21")]).assign(notebook="n")
    view = table_view("results", frame, "c", "f", Provenance())
    assert [(name, values) for _, name, values in view.filters] == [
        ("method", ["clip", EVIL]),
        ("dataset", ["scenes", "voc21"]),
    ]


def test_a_second_decimal_is_written_only_where_the_interval_is_narrow():
    frame = pd.DataFrame({"mIoU": [10.123], "mIoU_low": [10.0], "mIoU_high": [10.2], "notebook": "n"})
    cell = table_view("t", frame, "c", "f", Provenance()).rows[0][0]
    assert (cell.text, cell.note) == ("10.12", "10.00 to 10.20")


def test_a_long_table_shows_twenty_rows_and_links_to_all_of_them(tmp_path):
    record = write_run(tmp_path)
    long = pd.concat([RESULTS] * 15, ignore_index=True)
    write_table(tmp_path / "tables" / "results", long)
    record["captions"]["tables"]["results"]["rows"] = [30]
    build_site(tmp_path, record)
    text = (tmp_path / "index.html").read_text()
    assert len(re.findall(r"<tr>\s*<td", text.split("</thead>")[1].split("</table>")[0])) == 20
    assert "20 of 30 rows" in text
    assert "All 30 rows as CSV" in text


def test_the_report_opens_with_findings_and_each_section_with_its_answer(tmp_path):
    record = write_run(tmp_path)
    note = {"tasks": ["22_table"], "headline": False}
    record["captions"]["findings"] = {
        "a": note | {"caption": "Keys gain +28.4 points [25.0, 31.6].", "headline": True},
        "b": note | {"caption": "It is widest in block 2."},
        "c": note | {"caption": "Heads 1 and 3 do most.", "headline": True},
        "d": note | {"caption": "A fourth finding opens its section only.", "headline": True},
    }
    build_site(tmp_path, record)
    hero, section = (tmp_path / "index.html").read_text().split('<section id="s-22_table">')
    assert hero.index("Best is") < hero.index("Keys gain")
    assert "Heads 1 and 3" in hero
    assert "widest" not in hero
    assert "fourth" not in hero
    assert section.index("widest in block 2") < section.index("<table")
    assert "intersection over union" in hero
    assert "walkthrough 02" in hero


def test_the_answer_of_a_section_comes_first_and_is_said_once(tmp_path):
    record = write_run(tmp_path)
    note = {"tasks": ["22_table"], "headline": False}
    answer = record["captions"]["tables"]["results"]["caption"]
    record["captions"]["findings"] = {
        "a": note | {"caption": "A detail."},
        "b": note | {"caption": answer, "headline": True},
    }
    build_site(tmp_path, record)
    section = (tmp_path / "index.html").read_text().split('<section id="s-22_table">')[1]
    assert section.index("Best is") < section.index("A detail.")
    visible = re.sub(
        r'<caption class="hidden">.*?</caption>|<figcaption>.*?</figcaption>', "", section, flags=re.DOTALL
    )
    assert visible.count("Best is") == 1


def test_a_figure_that_also_is_dark_is_shown_so_on_a_dark_page_and_in_no_other_run(tmp_path):
    record = write_run(tmp_path)
    build_site(tmp_path, record)
    assert "on-dark" not in (tmp_path / "index.html").read_text()
    (tmp_path / "figures" / "bars.dark.png").write_bytes((tmp_path / "figures" / "bars.png").read_bytes())
    build_site(tmp_path, record)
    page = Page((tmp_path / "index.html").read_text())
    shown = [address for address in page.addresses if address.startswith("figures/") and address.endswith(".png")]
    assert shown == ["figures/bars.png", "figures/bars.dark.png"]
    assert len(set(page.alts)) == 1


def test_missing_values_and_counts_have_their_own_form():
    frame = pd.DataFrame({"method": ["a", None], "rows": [3, 4], "share": [0.12345, float("nan")]})
    frame = frame.assign(notebook="n")
    view = table_view("t", frame, "c", "f", Provenance())
    assert [[cell.text for cell in row] for row in view.rows] == [["a", "3", "0.123"], ["n/a", "4", "n/a"]]


def test_failures_are_shown_at_the_top(tmp_path):
    build_site(tmp_path, write_run(tmp_path), [f"22_table, cell 3: ValueError: {EVIL}"])
    text = (tmp_path / "index.html").read_text()
    assert 'role="alert"' in text
    assert "cell 3: ValueError: &lt;script&gt;" in text


def test_notebooks_that_have_not_run_are_named(site):
    assert "Not run: 23_more" in (site / "index.html").read_text()


def test_the_same_run_gives_the_same_pages(tmp_path):
    record = write_run(tmp_path)
    first = {path: path.read_bytes() for path in build_site(tmp_path, record)}
    assert first == {path: path.read_bytes() for path in build_site(tmp_path, record)}


def test_a_site_is_rebuilt_from_its_record_only(tmp_path):
    with pytest.raises(InputError, match=r"run\.json' is missing"):
        rebuild_site(tmp_path)
    write_run(tmp_path)
    assert tmp_path / "index.html" in rebuild_site(tmp_path)


def test_the_explorer_page_is_made_from_its_data(tmp_path):
    image = {
        "name": EVIL,
        "image": "data:image/png;base64,aGVsbG8=",
        "grid": [1, 2],
        "classes": [EVIL],
        "truth": [0, -1],
    }
    image |= {
        "blocks": 1,
        "heads": 1,
        "attention": "/wAA/w==",
        "methods": [{"name": "clip", "cosines": "", "classes": [0, 0]}],
    }
    build_site(tmp_path, write_run(tmp_path, [image]))
    text = (tmp_path / "explorer.html").read_text()
    assert "<script>alert" not in text
    for page in tmp_path.rglob("*.html"):
        assert 'explorer.html"' in page.read_text(), f"{page.name} leads nowhere near the explorer"
