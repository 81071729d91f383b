"""A run begun again: what is finished counts, and with anything changed it does not."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_helpers import METHODS, StopAt, contents, quick_protocol, records, run
from PIL import Image

import ovss
from ovss.backbone import load_backbone
from ovss.errors import InputError
from ovss.evaluation.identity import identity
from ovss.evaluation.job import Job
from ovss.evaluation.records import write_bytes
from ovss.evaluation.results import Evaluation
from ovss.files import digest
from ovss.methods import resolve_methods
from ovss.vocabulary import load_vocabulary


def test_nothing_is_computed_when_everything_is_there(backbone, data, tmp_path):
    run(backbone, data, tmp_path)
    before = records(tmp_path)
    again = run(backbone, StopAt(data, 0, AssertionError("a picture was read")), tmp_path)
    assert records(tmp_path) == before
    assert len(again.ids) == 10


def test_a_limited_run_is_the_beginning_of_the_full_one(backbone, data, tmp_path):
    run(backbone, data, tmp_path, limit=6)
    before = records(tmp_path)
    run(backbone, data, tmp_path)
    assert before.items() <= records(tmp_path).items()


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": quick_protocol(logit_scale=30.0)},
        {"methods": ["clip", "maskclip(ffn=True)"]},
        {"batch_size": 4},
        {"vocabulary": ovss.load_vocabulary("background: floor; cat; sofa; wall")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_run_starts_over(backbone, data, tmp_path, change):
    first = run(backbone, data, tmp_path, limit=3)
    second = run(backbone, data, tmp_path, limit=3, **change)
    assert first.facts["key"] != second.facts["key"]
    assert len({path.parent for path in tmp_path.rglob("*.npz")}) == 2


def test_tables_of_a_former_run_do_not_pass_for_those_of_the_present_one(backbone, data, tmp_path, monkeypatch):
    run(backbone, data, tmp_path)
    run(backbone, data, tmp_path, methods="clip")
    assert not (tmp_path / "differences.csv").exists()

    def full(path, content):
        if path.name == "per_class.csv":
            raise InputError("no space")
        write_bytes(path, content)

    monkeypatch.setattr("ovss.evaluation.results.write_bytes", full)
    with pytest.raises(InputError, match="no space"):
        run(backbone, data, tmp_path, methods="maskclip")
    with pytest.raises(InputError, match="not a finished run"):
        Evaluation.load(tmp_path)


def test_changed_data_weights_and_code_start_over(backbone, checkpoint, folder, tmp_path, monkeypatch):
    def key(model=backbone):
        return run(model, ovss.load_dataset("folder", folder), tmp_path / "run", limit=1, methods="clip").facts["key"]

    keys = {key()}
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint)
    weights["visual.proj"] = weights["visual.proj"] * 1.01
    save_file(weights, tmp_path / "other.safetensors")
    keys.add(key(ovss.load_backbone("tiny", str(tmp_path / "other.safetensors"), device="cpu", dtype="float32")))
    monkeypatch.setattr("ovss.evaluation.identity.code_hash", lambda *makers: "another version")
    keys.add(key())
    assert len(keys) == 3


@pytest.mark.parametrize("changed", ["image", "mask"])
def test_a_run_on_data_that_changed_in_place_is_refused(backbone, folder, tmp_path, changed):
    run(backbone, ovss.load_dataset("folder", folder), tmp_path / "run", limit=1, methods="clip")
    before = contents(tmp_path / "run")
    path = folder / ("images/p05.jpg" if changed == "image" else "masks/p05.png")
    stamp, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    again = ovss.load_dataset("folder", folder)
    with pytest.raises(InputError, match=rf"fingerprint [0-9a-f]{{16}} then, {again.fingerprint[:16]} now.*--out") as e:
        run(backbone, again, tmp_path / "run", limit=1, methods="clip")
    assert "\n" not in str(e.value)
    assert contents(tmp_path / "run") == before
    run(backbone, again, tmp_path / "other", limit=1, methods="clip")


def test_an_interrupted_run_on_data_that_changed_since_is_refused_and_goes_on_when_they_are_back(
    backbone, folder, tmp_path
):
    out, path = tmp_path / "run", folder / "images/p05.jpg"
    with pytest.raises(KeyboardInterrupt):
        run(backbone, StopAt(ovss.load_dataset("folder", folder), 4, KeyboardInterrupt()), out)
    assert not (out / "run.json").exists()
    before, content = records(out), path.read_bytes()
    with Image.open(path) as image:
        black = Image.new("RGB", image.size)
    black.save(path)
    with pytest.raises(InputError, match="holds a run on folder whose data were others: fingerprint"):
        run(backbone, ovss.load_dataset("folder", folder), out)
    assert records(out) == before
    path.write_bytes(content)
    run(backbone, ovss.load_dataset("folder", folder), out)
    assert before.items() <= records(out).items()


def test_a_damaged_note_of_a_run_is_not_taken_for_one_on_other_data(backbone, data, tmp_path):
    run(backbone, data, tmp_path)
    note = tmp_path / "run.json"
    whole, fingerprint = note.read_bytes(), data.fingerprint.encode()
    note.write_bytes(whole.replace(fingerprint, fingerprint[:-1]))
    run(backbone, data, tmp_path)
    assert note.read_bytes().count(fingerprint) == whole.count(fingerprint)


def _identity_of(backbone, data, device="cpu", judged=None, text="text"):
    words = load_vocabulary("background: floor; cat; sofa, couch; wall").with_templates(["a {}."])
    job = Job(resolve_methods(METHODS), judged or words, quick_protocol(), data, 16, 3)
    return digest(identity(job, backbone, device, text))


def test_scored_words_libraries_pixel_statistics_arithmetic_and_text_are_part_of_a_runs_key(
    backbone, checkpoint, data, monkeypatch
):
    keys = [_identity_of(backbone, data)]
    judged = load_vocabulary("background: floor; cat; sofa; couch, wall").with_templates(["a {}."])
    keys.append(_identity_of(backbone, data, judged=judged))
    keys.append(_identity_of(backbone, data, device="cuda"))
    keys.append(_identity_of(backbone, data, text="other embeddings"))
    for name, value in (("mean", (0.4, 0.5, 0.6)), ("std", (0.4, 0.5, 0.6))):
        with monkeypatch.context() as patch:
            patch.setattr(backbone, name, value)
            keys.append(_identity_of(backbone, data))
    half = load_backbone("tiny", str(checkpoint), device="cpu", dtype="bfloat16")
    assert half.weights_hash == backbone.weights_hash
    keys.append(_identity_of(half, data))
    with monkeypatch.context() as patch:
        patch.setattr("ovss.evaluation.identity.library_versions", lambda: {"torch": "0"})
        keys.append(_identity_of(backbone, data))
    assert len(set(keys)) == len(keys)
    assert _identity_of(backbone, data) == keys[0]


def test_runs_that_score_the_same_words_but_judge_by_others_have_different_keys(backbone, data):
    all_words = replace(load_vocabulary(["cat", "sofa"]), queries=("cat", "sofa", "wall"), query_class=(0, 1, 0))
    fewer = replace(all_words, queries=("cat", "sofa"), query_class=(0, 1))
    methods = resolve_methods(METHODS)
    jobs = [
        Job(methods, all_words, quick_protocol(), data, 16, 3),
        Job(methods, fewer, quick_protocol(), data, 16, 3, extra_queries=("wall",)),
    ]
    assert jobs[0].scored.hash == jobs[1].scored.hash
    assert len({digest(identity(job, backbone, "cpu", "text")) for job in jobs}) == 2


def test_methods_under_one_label_are_told_apart_by_their_parameters(backbone, data):
    words = load_vocabulary(["cat", "sofa"])
    keys = set()
    for sigma in (2.0, 3.0):
        job = Job(resolve_methods({"mine": f"naclip(sigma={sigma})"}), words, quick_protocol(), data, 16, 3)
        keys.add(digest(identity(job, backbone, "cpu", "text")))
    assert len(keys) == 2


def test_records_made_from_other_text_embeddings_are_not_used(backbone, data, tmp_path, monkeypatch):
    first = run(backbone, data, tmp_path, limit=3)
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    encode = backbone.encode_text
    monkeypatch.setattr(backbone, "encode_text", lambda texts: encode(texts).roll(1, dims=1))
    second = run(backbone, data, tmp_path, limit=3)
    assert first.facts["key"] != second.facts["key"]
    assert not np.array_equal(first.counts("maskclip"), second.counts("maskclip"))


def native_224():
    """A small random model for images of 224 pixels, which protocols in pixels accept."""
    import open_clip

    from ovss.backbone import Backbone

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(
            16,
            {"image_size": 224, "patch_size": 32, "layers": 2, "width": 16, "head_width": 8},
            {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        )
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    grey = (0.5, 0.5, 0.5)
    return Backbone(model, name="small", pretrained="seed 0", tokenizer=tokenizer, mean=grey, std=grey)


def test_a_run_under_the_older_sclip_is_not_continued_under_todays(tmp_path):
    """The folder was written by version 0.1.0 at commit 98f91ae with this model, these images and this call."""
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parent / "run_under_older_sclip", folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="an older version of ovss wrote it"):
        Evaluation.load(folder)
    model = native_224()
    for protocol in ("sclip", ovss.load_protocol("sclip", threshold=0.2)):
        with pytest.raises(
            InputError, match=r"older protocol 'sclip' .* 'window224'; use --protocol window224"
        ) as caught:
            ovss.evaluate(model, ["maskclip"], "scenes-objects", protocol=protocol, limit=2, out=folder)
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    ovss.evaluate(model, ["maskclip"], "scenes-objects", protocol="sclip", limit=2, out=tmp_path / "other")
    ovss.evaluate(model, ["maskclip"], "scenes-objects", protocol="sclip", limit=2, out=tmp_path / "other")
    found = ovss.evaluate(model, ["maskclip"], "scenes-objects", protocol="window224", limit=2, out=folder)
    assert found.summary()["protocol"].tolist() == ["window224"]
