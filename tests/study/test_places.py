"""Notebooks are found where they are, copied out on request, and never written over silently."""

import pytest
from paths import ROOT

from ovss.cli import main
from ovss.errors import InputError
from ovss.provenance.sources import reached_files
from ovss.study.places import copy_notebooks, find_notebooks, shipped_notebooks


def test_without_a_folder_the_notebooks_of_the_package_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_notebooks() == ROOT / "notebooks"
    assert find_notebooks() == sorted((ROOT / "notebooks").glob("2*.ipynb"))


def test_notebooks_of_the_current_folder_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy_notebooks(tmp_path / "notebooks")
    assert {path.resolve().parent for path in find_notebooks()} == {tmp_path.resolve() / "notebooks"}


def test_a_given_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"no study notebooks.*{tmp_path}"):
        find_notebooks(tmp_path)


def test_all_notebooks_and_solutions_are_copied_once(tmp_path):
    written = copy_notebooks(tmp_path / "new" / "folder")
    wanted = {*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "notebooks" / "solutions").glob("*.py")}
    names = {path.relative_to(tmp_path / "new" / "folder") for path in written}
    assert names == {path.relative_to(ROOT / "notebooks") for path in wanted}
    assert copy_notebooks(tmp_path / "new" / "folder") == []


def test_a_changed_notebook_is_replaced_only_on_request(tmp_path, capsys):
    copy_notebooks(tmp_path)
    changed, missing = tmp_path / "04_naclip.ipynb", tmp_path / "01_quickstart.ipynb"
    changed.write_text("my notes")
    missing.unlink()
    assert main(["notebooks", str(tmp_path)]) == 2
    assert f"'{changed}' differs" in capsys.readouterr().err
    assert changed.read_text() == "my notes"
    assert not missing.exists(), "nothing is written where something is refused"
    assert main(["notebooks", str(tmp_path), "--force"]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == [str(missing), str(changed)]
    assert changed.read_bytes() == (ROOT / "notebooks" / changed.name).read_bytes()


def test_a_file_is_no_folder_for_notebooks(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write notebooks"):
        copy_notebooks(tmp_path / "file")


def test_notebooks_inside_the_package_are_no_part_of_the_code_that_makes_a_number(tmp_path):
    home = tmp_path / "ovss"
    (home / "notebooks" / "solutions").mkdir(parents=True)
    (home / "__init__.py").write_text("")
    (home / "words.toml").write_text("")
    for path in copy_notebooks(home / "notebooks"):
        assert path.is_file()
    assert reached_files(["ovss"], home) == [home / "__init__.py", home / "words.toml"]
