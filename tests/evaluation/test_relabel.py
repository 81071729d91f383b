"""Scores kept on disk give what a fresh run gives, under other rules and other words."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_helpers import METHODS, quick_protocol

import ovss
from ovss.cli import main
from ovss.errors import InputError
from ovss.evaluation.relabel import relabel
from ovss.evaluation.scores import read_scores
from ovss.files import read_sealed_json, seal, sealed_json


@pytest.fixture
def kept(backbone, data, tmp_path):
    run = tmp_path / "run"
    ovss.evaluate(backbone, METHODS, data, protocol=quick_protocol(), out=run, shard_size=4, keep_scores="float32")
    return run


def fresh(backbone, data, **overrides):
    return ovss.evaluate(backbone, METHODS, data, protocol=quick_protocol(**overrides), shard_size=4)


def test_the_same_rules_give_the_same_counts(kept, data):
    again, first = relabel(kept, data), ovss.evaluation.results.Evaluation.load(kept)
    for label in METHODS:
        assert np.array_equal(again.counts(label), first.counts(label))
    assert again.facts["rescored_from"] == first.facts["key"]
    assert again.facts["protocol_hash"] == first.facts["protocol_hash"]


@pytest.mark.parametrize(
    "change",
    [
        {"background": "threshold", "threshold": 0.3},
        {"logit_scale": 7.0, "background": "threshold", "threshold": 0.28},
        {"background": "threshold", "threshold": 0.2, "area_rule": 0.3},
        {"pamr_iterations": 2, "pamr_dilations": (1, 2)},
        {"pamr_iterations": 2, "pamr_dilations": (1, 2), "pamr_guide": "original"},
        {"metric": "cliptrase"},
        {"background": "channel", "threshold": 0.3},
    ],
    ids=lambda change: "+".join(change),
)
def test_other_rules_give_what_a_fresh_run_gives(kept, backbone, data, change):
    expected, found = fresh(backbone, data, **change), relabel(kept, data, **change)
    for label in METHODS:
        assert np.array_equal(found.counts(label), expected.counts(label))
    assert found.facts["protocol_hash"] == expected.facts["protocol_hash"]
    assert found.summary()["mIoU"].tolist() == expected.summary()["mIoU"].tolist()


def test_rows_say_which_settings_are_left_that_were_set_for_the_data_set(backbone, data, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('extends = "study"\ntemplates = ["a {}."]\n[datasets.folder]\nlogit_scale = 50\nstride = 0.4\n')
    run = tmp_path / "run"
    ovss.evaluate(backbone, "clip", data, protocol=ovss.load_protocol(file), out=run, keep_scores="float32")
    said = [
        relabel(run, data, **options).summary()["set_per_dataset"].tolist()
        for options in ({}, {"logit_scale": 30.0}, {"protocol": quick_protocol(stride=0.4)})
    ]
    assert said == [["stride, logit_scale"], ["stride"], [""]]


def test_a_rule_moves_the_result(kept, data):
    plain, strict = relabel(kept, data), relabel(kept, data, background="threshold", threshold=0.9)
    assert strict.counts("clip")[:, 2, 0].sum() > plain.counts("clip")[:, 2, 0].sum()


def test_half_precision_takes_half_the_room_and_differs_at_ties_only(backbone, data, kept, tmp_path):
    run = tmp_path / "half"
    ovss.evaluate(backbone, METHODS, data, protocol=quick_protocol(), out=run, shard_size=4, keep_scores="float16")
    sizes = [sum(path.stat().st_size for path in folder.rglob("*.safetensors")) for folder in (run, kept)]
    assert sizes[0] < 0.7 * sizes[1]
    difference = np.abs(relabel(run, data).counts("clip") - relabel(kept, data).counts("clip")).sum()
    assert difference < 0.02 * relabel(kept, data).counts("clip").sum()


def test_words_kept_beside_are_relabelled_without_another_pass(backbone, tmp_path):
    scenes = ovss.load_dataset("scenes", length=3)
    protocol = quick_protocol()
    run = tmp_path / "run"
    ovss.evaluate(backbone, "clip", scenes, protocol=protocol, out=run, keep_scores="float32", keep_variants=["plain"])
    expected = ovss.evaluate(backbone, "clip", scenes, protocol=quick_protocol(variant="plain"))
    found = relabel(run, scenes, variant="plain")
    assert np.abs(found.counts("clip") - expected.counts("clip")).sum() <= 1e-3 * expected.counts("clip").sum()
    assert found.facts["vocabulary_hash"] == expected.facts["vocabulary_hash"]
    assert found.facts["vocabulary_hash"] != ovss.evaluation.results.Evaluation.load(run).facts["vocabulary_hash"]


def test_a_subset_of_the_words_can_be_relabelled(kept, data, backbone):
    with pytest.raises(InputError, match="1 words have no saved scores"):
        relabel(kept, data, vocabulary=ovss.load_vocabulary("background; cat, kitten; sofa; wall"))
    words = ovss.load_vocabulary([["background"], ["wall"], ["cat"], ["sofa"]])
    found = relabel(kept, data, vocabulary=words)
    expected = ovss.evaluate(backbone, METHODS, data, protocol=quick_protocol(), vocabulary=words)
    assert np.abs(found.counts("clip") - expected.counts("clip")).sum() <= 4


def test_what_acts_before_the_scores_cannot_be_changed(kept, data):
    with pytest.raises(InputError, match="'window' acts before the scores"):
        relabel(kept, data, window=2.0)
    with pytest.raises(InputError, match=r"short_side = 3, but the scores were made with 1\.5; evaluate again"):
        relabel(kept, data, protocol=quick_protocol(short_side=3.0))
    assert relabel(kept, data, protocol=quick_protocol(logit_scale=9.0)).facts["protocol"] == "study"


def test_scores_refined_window_by_window_are_saved_refined_and_cannot_be_unrefined(backbone, data, tmp_path):
    run, refined = tmp_path / "run", {"pamr_iterations": 2, "pamr_dilations": (1, 2), "pamr_cells": 2}
    protocol = quick_protocol(**refined)
    first = ovss.evaluate(backbone, METHODS, data, protocol=protocol, out=run, limit=3, keep_scores="float32")
    assert np.array_equal(relabel(run, data).counts("clip"), first.counts("clip"))
    assert not np.array_equal(fresh(backbone, data).counts("clip")[:3], first.counts("clip"))
    with pytest.raises(InputError, match="pamr_iterations = 3, but the scores were made with 2"):
        relabel(run, data, pamr_iterations=3)


def test_wrong_runs_and_data_are_refused(kept, backbone, data, tmp_path):
    ovss.evaluate(backbone, "clip", data, protocol=quick_protocol(), out=tmp_path / "plain", limit=2)
    with pytest.raises(InputError, match="no saved scores"):
        relabel(tmp_path / "plain", data)
    with pytest.raises(InputError, match="fingerprints differ"):
        relabel(kept, ovss.load_dataset("scenes", length=2))
    with pytest.raises(InputError, match="no method 'naclip'"):
        relabel(kept, data, methods=["naclip"])


def test_damaged_or_missing_scores_are_named_and_evaluation_makes_them_again(kept, backbone, data):
    path = sorted(kept.rglob("*.safetensors"))[2]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=f"{path.name}' are damaged"):
        relabel(kept, data)
    path.unlink()
    with pytest.raises(InputError, match=f"no scores at .*{path.name}"):
        relabel(kept, data)
    ovss.evaluate(backbone, METHODS, data, protocol=quick_protocol(), out=kept, shard_size=4, keep_scores="float32")
    assert len(relabel(kept, data).ids) == 10


def test_scores_of_another_version_are_refused_by_name(kept, data):
    (note,) = kept.rglob("kept.json")
    content = read_sealed_json(note)
    del content["protocol"]["methods"]
    note.write_bytes(sealed_json(content))
    with pytest.raises(InputError, match=r"kept.json' was written by another version of ovss .*evaluate again"):
        relabel(kept, data)


def test_scores_that_cannot_be_kept_are_refused_before_any_work(backbone, data, tmp_path):
    with pytest.raises(InputError, match="'cliptrase' are made per pixel"):
        ovss.evaluate(backbone, "cliptrase", data, protocol=quick_protocol(), out=tmp_path, keep_scores="float32")
    with pytest.raises(InputError, match="give out as well"):
        ovss.evaluate(backbone, "clip", data, protocol=quick_protocol(), keep_scores="float32")
    with pytest.raises(InputError, match="'float64' is unknown"):
        ovss.evaluate(backbone, "clip", data, protocol=quick_protocol(), out=tmp_path, keep_scores="float64")


def test_the_command_sweeps_and_writes_one_table(kept, folder, tmp_path, capsys):
    table = tmp_path / "sweep.csv"
    command = ["rescore", str(kept), "--root", str(folder), "--background", "threshold", "--out", str(table)]
    assert main([*command, "--threshold", "0.1", "0.3", "0.9"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| clip |") == 3
    assert "| threshold | method |" in printed
    rows = pd.read_csv(table)
    assert rows["set_threshold"].tolist() == [0.1, 0.1, 0.3, 0.3, 0.9, 0.9]
    assert rows["protocol_hash"].nunique() == 3
    shutil.rmtree(kept / "scores")
    assert main(command) == 2


def test_torch_threads_do_not_matter_to_kept_scores(kept, data):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = relabel(kept, data)
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(one.counts("clip"), relabel(kept, data).counts("clip"))


def test_no_flip_of_a_bit_no_cut_and_no_swap_of_kept_scores_is_used(kept):
    first, second = sorted(kept.rglob("*.safetensors"))[:2]
    content = first.read_bytes()
    whole = read_scores(first)
    assert whole.id == "p00"
    positions = range(0, len(content), max(1, len(content) // 400))
    damaged = [content[:position] for position in positions] + [content + b"\0", second.read_bytes()]
    for position in [*range(700), *positions]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        damaged.append(bytes(flipped))
    for version in damaged:
        first.write_bytes(version)
        with pytest.raises(InputError, match=r"000000\.safetensors' are damaged"):
            read_scores(first)


@pytest.mark.parametrize("name", ["kept.json", "run.json"])
def test_a_damaged_note_of_a_run_is_refused_and_names_the_file(kept, data, name):
    (path,) = kept.rglob(name)
    content = path.read_bytes()
    for position in range(0, len(content), 11):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :])
        with pytest.raises(InputError, match=f"'{path}' (is damaged|cannot be used)"):
            relabel(kept, data)
    for text in ("[" * 100_000, '{"facts": 1}', "", "\udcff".encode("utf-8", "surrogatepass").decode("latin-1")):
        path.write_text(text)
        with pytest.raises(InputError, match=f"'{path}' (is damaged|cannot be used)"):
            relabel(kept, data)
    assert main(["rescore", str(kept)]) == 2


def test_what_can_be_kept_is_kept_and_the_rest_is_named(backbone, data, tmp_path):
    options = {"protocol": quick_protocol(), "limit": 2, "keep_scores": "float32"}
    with pytest.warns(
        UserWarning, match=r"scores of 'cliptrase' are made per pixel .*; those of the other methods are"
    ):
        first = ovss.evaluate(backbone, ["clip", "cliptrase"], data, out=tmp_path / "run", **options)
    assert list(first.methods) == ["clip", "cliptrase"]
    again = relabel(tmp_path / "run", data)
    assert list(again.methods) == ["clip"]
    assert np.array_equal(again.counts("clip"), first.counts("clip"))
    with pytest.raises(InputError, match="has no saved scores of 'cliptrase'; it has those of clip"):
        relabel(tmp_path / "run", data, methods=["cliptrase"])
    with pytest.raises(
        InputError, match="scores of 'cliptrase' are made per pixel and cannot be saved compactly; leave"
    ):
        ovss.evaluate(backbone, "cliptrase", data, out=tmp_path / "alone", **options)


def test_scores_of_another_image_are_not_judged_by_this_ones_truth(kept, data):
    path = sorted(kept.rglob("*.safetensors"))[2]
    content = path.read_bytes()
    assert content.count(b"p02") == 1
    empty = re.sub(rb"(?<=sha256-of-this-file:)[0-9a-f]{64}", b"0" * 64, content)
    path.write_bytes(seal(empty.replace(b"p02", b"p07")))
    with pytest.raises(InputError, match="scores 2 are of 'p07', but the data set has 'p02' there"):
        relabel(kept, data)
