"""`ovss methods`: the list and the page of one method."""

import pytest

from ovss.cli import main
from ovss.cli.methods import describe
from ovss.methods import list_methods, method_class


def test_the_list_names_every_method_and_its_paper(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list_methods()
    assert "2404.08181" in next(line for line in lines if line.startswith("naclip"))


@pytest.mark.parametrize("name", list_methods())
def test_one_method_shows_parameters_defaults_and_sources(name, capsys):
    assert main(["methods", name]) == 0
    page = capsys.readouterr().out
    assert all(len(line) <= 120 for line in page.splitlines())
    for row in describe(name):
        assert row.parameter in page
        assert row.default in page


def test_the_list_and_the_page_say_which_method_needs_a_pass_of_its_own(capsys):
    main(["methods"])
    passes = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert {name: count for name, count in passes.items() if count != "1"} == {"registers": "2", "rfclip": "2"}
    for name in ("rfclip", "registers", "sfp"):
        main(["methods", name])
        assert ("one backbone pass of its own" in capsys.readouterr().out) == (name != "sfp")


def test_the_list_and_the_page_say_which_method_can_share_windows(capsys):
    main(["methods"])
    shares = {line.split()[0]: line.split()[2] for line in capsys.readouterr().out.splitlines()[1:]}
    able = {name for name in list_methods() if method_class(name).shares_windows}
    assert {name for name, word in shares.items() if word == "yes"} == able
    for name in ("naclip", "gem"):
        main(["methods", name])
        assert ("windows='shared'" in capsys.readouterr().out) == (name == "naclip")


def test_naclip_page(capsys):
    rows = {row.parameter: row for row in describe("naclip")}
    assert rows["sigma"].default == "5.0"
    assert rows["sigma"].values == "float: (0, inf)"
    assert rows["omega"].default == "yes"
    main(["methods", "naclip"])
    assert "Deviations from the paper" in capsys.readouterr().out


def test_clipseg_says_that_it_is_a_reconstruction(capsys):
    main(["methods", "clipseg_aaai25"])
    page = capsys.readouterr().out
    assert "a reconstruction" in page
    assert page.count("our choice") >= 3


def test_a_misspelt_name_is_answered_with_the_right_one(capsys):
    assert main(["methods", "naklip"]) == 2
    assert "Did you mean 'naclip'?" in capsys.readouterr().err
