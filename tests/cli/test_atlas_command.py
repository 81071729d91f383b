"""`ovss atlas` prints the parts that matter most first, and goes on where it was."""

import pandas as pd

from ovss.cli import main


def test_parts_are_listed_by_what_they_cost_and_counts_are_used_again(tmp_path, capsys):
    command = ["atlas", "--data", "scenes", "--limit", "4", "--method", "maskclip", "--device", "cpu"]
    command += ["--dtype", "float32", "--out", str(tmp_path), "--parts", "block 8 ffn", "block 8 head 3"]
    assert main(command) == 0
    first = capsys.readouterr()
    lines = first.out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["block 8 head 3 zero", "block 8 ffn zero"]
    assert "maskclip on 4 images of scenes, tiny: untouched 61.3 mIoU" in first.err
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(made) == 3
    assert main([*command, "block 8 head 1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    table = pd.read_csv(tmp_path / "atlas.csv")
    assert table["part"].tolist() == ["block 8 ffn zero", "block 8 head 3 zero", "block 8 head 1 zero"]
    assert table["change"][0] == 0


def test_a_part_that_is_not_there_is_one_line(capsys):
    assert main(["atlas", "--data", "scenes", "--parts", "block 9 ffn"]) == 2
    assert "block 9 is outside 1..8" in capsys.readouterr().err.splitlines()[-1]
