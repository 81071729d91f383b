"""Results in the README, written from the tables of a report."""

import pytest
from report_helpers import write_run

from ovss.cli import main
from ovss.errors import InputError
from ovss.report.readme import render_readme, results_markdown

README = "# Title\n\n<!-- results:begin -->\nold\n<!-- results:end -->\n\nafter\n"


def test_the_readme_gets_its_numbers_from_the_tables(tmp_path):
    write_run(tmp_path / "report")
    readme = tmp_path / "README.md"
    readme.write_text(README)
    assert render_readme(readme, tmp_path / "report", write=False)
    assert readme.read_text() == README
    assert render_readme(readme, tmp_path / "report")
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- results:begin -->\nBest is")
    assert text.endswith("<!-- results:end -->\n\nafter\n")
    assert "| `clip` | 10.0 [9.0, 11.0] | 20.0 [19.0, 21.0] | 30.0 [29.0, 31.0] |" in text
    assert text.index("20.3") < text.index("| `clip`")
    assert not render_readme(readme, tmp_path / "report")


def test_a_readme_without_markers_or_a_report_without_results_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n")
    with pytest.raises(InputError, match="must have one line"):
        render_readme(readme, tmp_path)
    with pytest.raises(InputError, match="holds no finished run"):
        results_markdown(tmp_path)


def test_the_command_checks_and_writes(tmp_path, capsys):
    write_run(tmp_path / "report")
    readme = tmp_path / "README.md"
    readme.write_text(README)
    arguments = ["report", str(tmp_path / "report"), "--readme", str(readme)]
    assert main([*arguments, "--check"]) == 1
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    assert main(["report", str(tmp_path / "report")]) == 0
    assert "files written" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "nowhere")]) == 2
