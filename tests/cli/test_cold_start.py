"""Commands that only list answer without a model library, and what they read as data is what the library says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ovss
from ovss.cli import COMMANDS, catalogue, evaluate
from ovss.cli.catalogue import describe_class, read_descriptions
from ovss.cli.main import build_parser
from ovss.evaluation.identity import MAKERS
from ovss.methods import list_methods, method_class
from ovss.provenance.sources import modules_used, reached_files

HEAVY = ("torch", "torchvision", "open_clip", "pandas", "scipy", "sklearn", "matplotlib", "papermill")


def heavy_modules_after(code: str) -> str:
    """Names of the heavy modules that a fresh interpreter has loaded after some code."""
    code += f"\nimport sys; print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()[-1]


def test_listing_and_reading_words_protocols_and_data_sets_loads_no_model_library():
    commands = [["list", kind] for kind in ("methods", "models", "protocols", "datasets", "vocabularies")]
    commands += [
        ["methods"],
        ["models"],
        ["list", "models", "google/siglip2-base-patch16-224"],
        ["protocols"],
        ["datasets"],
        ["vocabularies"],
    ]
    commands += [["list", "methods", name] for name in ("scclip", "compose", "rfclip")]
    commands += [["list", "protocols", "scclip", "--dataset", "voc21"], ["list", "vocabularies", "ade847"]]
    commands += [["list", "datasets", "voc21"], ["list", "vocabularies", "cat; sofa, couch"]]
    code = f"from ovss.cli import main\nfor words in {commands}: assert main(words) == 0"
    assert heavy_modules_after(code) == "loaded: []"
    words = 'ovss.load_protocol("scclip").vocabulary("voc21").hash; ovss.load_dataset("scenes")'
    assert heavy_modules_after(f"import ovss; {words}") == "loaded: []"


def test_help_of_every_command_loads_no_model_library():
    code = """
from ovss.cli import COMMANDS, main
for words in (["--help"], *([command, "--help"] for command in COMMANDS)):
    try:
        main(words)
    except SystemExit as stop:
        assert stop.code == 0, words
"""
    assert heavy_modules_after(code) == "loaded: []"


def test_what_reproduce_refuses_it_refuses_before_the_libraries_are_loaded(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").touch()
    (tmp_path / "wrong.toml").write_text("name = 'wrong'\nmethod = ['clip']\n")
    refused = [
        ["nosuch"],
        [f"{tmp_path}/wrong.toml"],
        ["--only", "99"],
        ["--notebooks", f"{tmp_path}/taken"],
        ["--out", f"{tmp_path}/taken"],
        ["--only", "22", "--compare", "x"],
    ]
    code = f"from ovss.cli import main\nfor words in {refused}: assert main(['reproduce', *words]) == 2, words"
    assert heavy_modules_after(code) == "loaded: []"
    assert heavy_modules_after("from ovss.cli import main; main(['notebooks'])") == "loaded: []"


def test_method_files_read_without_running_them_say_what_the_registry_says():
    read = read_descriptions()  # raises where a file can only be understood by running it
    assert list(read) == list_methods()
    for name, description in read.items():
        assert description == describe_class(method_class(name)), name


def test_a_method_file_that_only_running_explains_is_left_to_the_registry(tmp_path, monkeypatch):
    home = tmp_path / "ovss"
    shutil.copytree(Path(ovss.__file__).parent / "methods", home / "methods")
    (home / "methods" / "clip.py").write_text(
        (home / "methods" / "clip.py").read_text().replace('venue="', 'venue=str() + "', 1)
    )
    monkeypatch.setattr(catalogue, "_HOME", home)
    with pytest.raises(ValueError, match="str\\(\\) \\+"):
        read_descriptions()
    assert catalogue.describe_methods.__wrapped__()["clip"] == describe_class(method_class("clip"))


def test_no_command_is_part_of_the_code_that_makes_counts_or_of_a_notebook():
    notebooks = sorted(Path(ovss.__file__).parents[1].glob("notebooks/[0-9]*.ipynb"))
    assert len(notebooks) > 10
    used = {name for path in notebooks for name in modules_used(code_of(path))}
    reached = reached_files({*MAKERS, *used})
    assert len(reached) > 60
    assert [path for path in reached if path.parent.name == "cli"] == []


def code_of(notebook: Path) -> str:
    """The code cells of a notebook as one text, without its magics."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return "\n".join(line for text in code for line in text.splitlines() if not line.startswith("%"))


def test_options_stated_again_are_those_of_the_library():
    from ovss.evaluation import SHARD_SIZE
    from ovss.evaluation.scores import FORMATS

    assert tuple(FORMATS) == evaluate.FORMATS
    assert evaluate.SHARD_SIZE == SHARD_SIZE


def test_every_module_is_the_command_of_its_name():
    _, parsers = build_parser()
    assert parsers.keys() - COMMANDS.keys() == {"rescore"}
    assert parsers["rescore"] is parsers["relabel"]
    for command, module in COMMANDS.items():
        assert module.__name__ == f"ovss.cli.{command.replace('-', '_')}"


@pytest.mark.parametrize(
    ("kind", "name"), [("methods", "naclip"), ("protocols", "scclip"), ("vocabularies", "voc21"), ("datasets", None)]
)
def test_list_shows_what_the_command_of_the_kind_shows(kind, name, capsys):
    from ovss.cli import main

    shown = []
    for words in (["list", kind], [kind]):
        assert main([*words, *([name] if name else [])]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != ""


def test_a_data_set_is_shown_with_its_splits_and_classes(capsys):
    from ovss.cli import main

    assert main(["list", "datasets", "voc21"]) == 0
    page = capsys.readouterr().out
    assert "val, train, trainval" in page
    assert "1449" in page
    assert "tvmonitor" in page or "tv monitor" in page
    assert main(["list", "datasets", "voc12"]) == 2
    assert "Did you mean 'voc21'?" in capsys.readouterr().err


def test_an_unknown_option_names_the_command_whose_help_lists_the_known_ones(capsys):
    from ovss.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["report", "--colour"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --colour (see ovss report --help)" in capsys.readouterr().err
