"""`ovss ledger` chooses cells by name and says where each comes from."""

import pytest

from ovss.cli import main
from ovss.ledger import load_published


def test_cells_are_chosen_by_method_data_set_and_architecture(capsys):
    assert main(["ledger", "--method", "naclip,sclip", "--dataset", "voc21", "voc20", "--arch", "ViT-B-16"]) == 0
    head, *rows, states = capsys.readouterr().out.splitlines()
    published = load_published()
    wanted = published.query("method in ['naclip', 'sclip'] and dataset in ['voc20', 'voc21'] and arch == 'ViT-B-16'")
    assert "source" in head.split()
    assert len(rows) == len(wanted) > 3
    for row, source in zip(rows, wanted["source"], strict=True):
        assert source in row
    assert sum(int(part.split()[0]) for part in states.split("; ")) == len(wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "naklip"], "no published number has method 'naklip'. Did you mean 'naclip'?"),
        (["--dataset", "voc22"], "no published number has dataset 'voc22'. Did you mean"),
        (["--arch", "ViT-B-17"], "no published number has arch 'ViT-B-17'. Did you mean"),
    ],
)
def test_names_without_a_cell_are_refused(capsys, options, message):
    assert main(["ledger", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_has_no_splits(tmp_path, capsys):
    assert main(["evaluate", "--data", "folder", "--root", str(tmp_path), "--split", "train"]) == 2
    assert "data set 'folder' has no split 'train'; it is one folder of images and masks" in capsys.readouterr().err
