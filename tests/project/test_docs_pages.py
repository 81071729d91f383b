"""Pages that the documentation makes from the package, and the check of its links."""

import json
from dataclasses import fields

import check_links
import docs_pages
import nbformat
import pytest
from docs_text import escaped, formula, table
from paths import ROOT

from ovss.methods import list_methods, method_class
from ovss.protocols import list_protocols, load_protocol
from ovss.vocabulary.tables import list_vocabularies


@pytest.fixture(scope="module")
def pages():
    return docs_pages.pages()


def test_every_method_has_a_page_with_all_that_its_class_says(pages):
    for name in list_methods():
        page, paper = pages[f"methods/{name}.md"], method_class(name).paper
        assert escaped(paper.title) in page
        assert all(escaped(deviation) in page for deviation in paper.deviations)
        assert f"arxiv.org/abs/{paper.arxiv}" in page or not paper.arxiv
        for parameter in fields(method_class(name)):
            assert f"| {escaped(parameter.name)} |" in page
        assert f"({name}.md)" in pages["methods/index.md"]
    assert "**" not in pages["methods/naclip.md"]


def test_a_method_leads_to_the_walkthrough_and_the_protocols_that_use_it(pages):
    page = pages["methods/naclip.md"]
    assert "../walkthroughs/04_naclip.ipynb" in page
    assert "../protocols.md#naclippamr" in page
    assert "literalinclude} ../../../ovss/methods/naclip.py" in page


def test_every_protocol_vocabulary_and_data_set_stands_in_its_table(pages):
    for name in list_protocols():
        assert f"## {name}\n" in pages["protocols.md"]
        assert load_protocol(name).hash in pages["protocols.md"]
    for name in list_vocabularies():
        assert f"(vocabularies/{name}.md)" in pages["vocabularies.md"]
        assert f"vocabularies/{name}.md" in pages
    assert "cityscapes" in pages["datasets.md"]


def test_walkthroughs_lead_elsewhere_only_where_the_repository_is_known(pages):
    alone = json.loads(pages["walkthroughs/04_naclip.ipynb"])
    notebook = nbformat.read(ROOT / "notebooks" / "04_naclip.ipynb", as_version=4)
    hosted = json.loads(docs_pages.walkthrough_page("04_naclip", notebook, "somebody/ovss"))
    assert len(hosted["cells"]) == len(alone["cells"]) + 1
    link = "".join(hosted["cells"][1]["source"])
    assert "colab.research.google.com/github/somebody/ovss/blob/main/notebooks/04_naclip.ipynb" in link
    assert "mybinder.org/v2/gh/somebody/ovss/main?labpath=notebooks/04_naclip.ipynb" in link
    assert "colab" not in pages["walkthroughs/04_naclip.ipynb"]


def test_pages_are_written_once_and_leave_when_their_subject_does(tmp_path, monkeypatch):
    monkeypatch.setattr(docs_pages, "pages", lambda repository: {"a/b.md": "text", "c.md": repository})
    assert docs_pages.write_pages(tmp_path, "x/y") == [tmp_path / "a" / "b.md", tmp_path / "c.md"]
    (tmp_path / "old.md").touch()
    assert docs_pages.write_pages(tmp_path, "x/z") == [tmp_path / "c.md"]
    assert sorted(path.name for path in tmp_path.rglob("*.md")) == ["b.md", "c.md"]


def test_text_of_docstrings_is_shown_as_it_is():
    assert escaped("a_b * <c> `d_e` | $f") == r"a\_b \* \<c\> `d_e` \| \$f"
    assert formula("q k^T / sqrt d + Omega, slam") == "q kᵀ / √d + Ω, slam"
    assert table([("a", "b"), ("x|y", "1")]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |\n"


@pytest.fixture
def site(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text('<a href="sub/">x</a> <a href="sub/index.html#here">y</a> <h1 id="top2"></h1>')
    (tmp_path / "sub" / "index.html").write_text('<p id="here"></p><a href="../index.html#top2">z</a>')
    return tmp_path


def test_a_site_whose_links_lead_somewhere_is_fine(site, capsys):
    assert check_links.main(str(site)) == 0
    assert "every link" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="gone.html">x</a>', "gone.html: no such file"),
        ('<a href="index.html#gone">x</a>', "no such place"),
        ('<a href="#gone">x</a>', "no such place"),
        ('<script src="https://cdn.example/x.js"></script>', "fetched from another host"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "fetched from another host"),
        ('<img src="http://example/x.png">', "fetched from another host"),
    ],
)
def test_a_dead_link_and_anything_fetched_from_elsewhere_is_named(site, html, fault):
    (site / "bad.html").write_text(html)
    (found,) = check_links.faults(site)
    assert found.startswith("bad.html: ")
    assert fault in found


def test_a_style_that_fetches_is_named_and_a_link_to_another_host_is_not(site):
    (site / "fine.html").write_text('<a href="https://arxiv.org/abs/1">x</a> <link rel="canonical" href="https://x/">')
    assert check_links.faults(site) == []
    (site / "a.css").write_text("@font-face { src: url('https://fonts.example/x.woff') }")
    assert check_links.faults(site) == ["a.css: fetches from elsewhere"]
