import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evaluation_helpers import CLASSES, METHODS, contents, quick_protocol
from PIL import Image

import ovss
from ovss.errors import InputError
from ovss.evaluation.pipeline import LOOKAHEAD, crop_truth
from ovss.evaluation.records import Record
from ovss.evaluation.results import Evaluation
from ovss.methods import Method, create_method, list_methods, resolve_methods
from ovss.methods.registry import parse_method
from ovss.metrics import count_labels
from ovss.protocols import Geometry
from ovss.segment import Segmenter


def run(backbone, data, methods=METHODS, **options):
    options.setdefault("protocol", quick_protocol())
    options.setdefault("shard_size", 4)
    return ovss.evaluate(backbone, methods, data, **options)


@pytest.mark.parametrize("presence", ["none", "crops"])
def test_counts_are_those_of_the_segmenter_image_by_image(backbone, data, presence):
    protocol = quick_protocol(presence=presence)
    evaluation = run(backbone, data, protocol=protocol)
    words = ovss.load_vocabulary(data.vocabulary_name)
    for label in METHODS:
        segmenter = Segmenter(backbone, label, words, protocol=protocol)
        counts = evaluation.counts(label)
        for number, sample in enumerate(data):
            expected = count_labels(segmenter(sample.image).labels, sample.labels, len(CLASSES))
            assert np.abs(counts[number] - expected).sum() <= 2, "a pixel at a tie may fall to either side"
    assert evaluation.ids == data.ids
    assert evaluation.counts("clip")[:, 1].sum() == sum(int((sample.labels != 255).sum()) for sample in data)


def test_methods_on_a_shared_pass_give_what_each_gives_alone(backbone, data):
    together = run(backbone, data)
    for label in METHODS:
        alone = run(backbone, data, label)
        assert np.array_equal(together.counts(label), alone.counts(label))


def test_batching_windows_of_several_images_changes_at_most_ties(backbone, data):
    one, many = run(backbone, data, batch_size=1), run(backbone, data, batch_size=64)
    difference = np.abs(one.counts("maskclip") - many.counts("maskclip")).sum()
    assert difference <= 1e-3 * one.counts("maskclip").sum()


def test_summary_has_every_measure_with_interval_and_its_origin(backbone, data):
    evaluation = run(backbone, data, ["clip", "naclip(sigma=2.0)"], seed=3)
    summary = evaluation.summary()
    assert summary["method"].tolist() == ["clip", "naclip(sigma=2.0)"]
    for name in ("mIoU", "mAcc", "pAcc", "fwIoU"):
        assert (summary[f"{name}_low"] <= summary[name]).all()
        assert (summary[name] <= summary[f"{name}_high"]).all()
    row = summary.iloc[1]
    assert json.loads(row["parameters"])["sigma"] == 2.0
    assert row["method_name"] == "naclip"
    assert row["weights_hash"] == backbone.weights_hash
    assert row["dataset_fingerprint"] == data.fingerprint
    assert row["protocol_hash"] == quick_protocol().for_dataset("folder", "tiny").hash
    words = ovss.load_vocabulary(data.vocabulary_name).with_templates(["a {}."])
    assert row["vocabulary_hash"] == words.hash
    expected = {"images": 10, "skipped": 0, "device": "cpu", "dtype": "float32", "seed": 3, "ovss": ovss.__version__}
    assert {name: row[name] for name in expected} == expected
    assert all(row[name] for name in ("torch", "open_clip", "numpy", "python", "code_hash", "key", "batch_size"))


def test_per_class_and_per_image_tables_agree_with_the_counts(backbone, data):
    evaluation = run(backbone, data)
    counts = evaluation.counts("clip")
    per_class = evaluation.per_class().query("method == 'clip'")
    assert per_class["class"].tolist() == list(CLASSES)
    assert per_class["truth_pixels"].tolist() == counts.sum(0)[1].tolist()
    assert per_class["images"].tolist() == (counts[:, 1] > 0).sum(0).tolist()
    assert per_class["IoU"].mean() == pytest.approx(evaluation.summary()["mIoU"][0])
    per_image = evaluation.per_image().query("method == 'clip'")
    again = per_image.groupby("class")["intersection"].sum().reindex(CLASSES, fill_value=0)
    assert again.tolist() == counts.sum(0)[0].tolist()


def test_compare_is_paired_and_corrected(backbone, data):
    evaluation = run(backbone, data)
    table = evaluation.compare("clip", "maskclip")
    summary = evaluation.summary().set_index("method")
    mean = table.query("scope == 'mean'").set_index("name")
    for name in ("mIoU", "mAcc", "pAcc", "fwIoU"):
        assert mean.loc[name, "difference"] == pytest.approx(summary.loc["maskclip", name] - summary.loc["clip", name])
    classes = table.query("scope == 'class'")
    assert classes["name"].tolist() == list(CLASSES)
    tested = classes.dropna(subset="p")
    assert (tested["p_holm"] >= tested["p"]).all()
    with pytest.raises(InputError, match=r"no method 'clp'. Did you mean 'clip'"):
        evaluation.compare("clp", "maskclip")


def test_tables_are_written_and_load_again(backbone, data, tmp_path):
    evaluation = run(backbone, data, out=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    tables = {"summary.csv", "summary.md", "summary.tex", "summary.json", "per_class.csv", "differences.csv"}
    assert names == tables | {"per_image.parquet", "run.json", "records"}
    again = Evaluation.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.summary(), evaluation.summary())
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "run" / "per_image.parquet"), evaluation.per_image())
    with pytest.raises(InputError, match="not a finished run"):
        Evaluation.load(tmp_path)


def test_limit_takes_the_first_images(backbone, data):
    assert run(backbone, data, limit=5).ids == data.ids[:5]
    assert run(backbone, data, limit=500).ids == data.ids
    with pytest.raises(InputError, match="limit must be at least 1"):
        run(backbone, data, limit=0)


def test_no_more_images_are_held_than_a_bound_whatever_the_length(backbone, data, monkeypatch):
    read, done, ahead = [], [], []
    original = type(data).__getitem__
    monkeypatch.setattr(type(data), "__getitem__", lambda self, index: read.append(index) or original(self, index))

    def on_image():
        done.append(1)
        ahead.append(len(read) - len(done))

    from ovss.evaluation.pipeline import Pipeline

    job = run_job(backbone, data)
    list(Pipeline(job, backbone).run([ovss.evaluation.records.Shard(0, 10)], on_image))
    windows_per_image = 2
    assert len(read) == 10
    assert max(ahead) <= LOOKAHEAD + job.batch_size // windows_per_image


def run_job(backbone, data):
    from ovss.evaluation.job import Job

    protocol = quick_protocol().for_dataset("folder", "tiny")
    words = ovss.load_vocabulary(data.vocabulary_name).with_templates(protocol.templates)
    return Job({"clip": create_method("clip")}, words, protocol, data, batch_size=4, shard_size=4)


def test_cropping_protocols_crop_the_ground_truth_as_the_image(backbone, data):
    protocol = quick_protocol(
        relative=False, short_side=64, crop=64, window=None, stride=None, resize_filter="pil-bicubic"
    )
    evaluation = run(backbone, data, protocol=protocol)
    counts = evaluation.counts("clip")
    void = [int((crop_truth(s.labels, Geometry(64, None, 64, None, None, "pil-bicubic")) == 255).sum()) for s in data]
    assert counts[:, 1].sum(1).tolist() == [64 * 64 - pixels for pixels in void]


def test_nearest_crop_equals_pil():
    labels = np.random.default_rng(0).integers(0, 200, (61, 90))
    found = crop_truth(labels, Geometry(40, None, 40, None, None, "pil-bicubic"))
    resized = Image.fromarray(labels.astype(np.uint8)).resize((59, 40), Image.Resampling.NEAREST)
    left = round((59 - 40) / 2)
    assert np.array_equal(found, np.asarray(resized)[:, left : left + 40])
    wide = crop_truth(labels + 1000, Geometry(40, None, 40, None, None, "pil-bicubic"))
    assert np.array_equal(wide, found + 1000)


def test_cliptrase_metric_counts_void_as_background(backbone, data):
    standard, own = (
        run(backbone, data, "clip"),
        run(backbone, data, "clip", protocol=quick_protocol(metric="cliptrase")),
    )
    void = sum(int((sample.labels == 255).sum()) for sample in data)
    assert own.counts("clip")[:, 1, 0].sum() == standard.counts("clip")[:, 1, 0].sum() + void


def test_all_means_every_method_but_the_parametric_one():
    found = resolve_methods("all")
    assert set(found) == set(list_methods()) - {"compose", "glaclip", "proxyclip", "registers", "rfclip"}
    assert all(isinstance(method, Method) for method in found.values())


def test_method_labels_can_be_read_back():
    for method in (create_method("naclip", sigma=3.0, arch="vanilla"), create_method("clip", ffn=False)):
        assert parse_method(method.label) == method
    assert parse_method(" naclip ") == create_method("naclip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("naclip(sigma=", "must look like naclip"),
        ("naclip(3.0)", "must look like"),
        ("naclip(sigma=print(1))", "must look like"),
        ("naclipp", "Did you mean 'naclip'"),
        ("naclip(sgima=3.0)", "Did you mean 'sigma'"),
    ],
)
def test_misspelt_methods_are_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_method(text)
    assert "\n" not in str(caught.value)


def test_equal_labels_are_refused_and_a_dictionary_resolves_them():
    with pytest.raises(InputError, match="'clip' is given twice"):
        resolve_methods(["clip", "clip"])
    assert list(resolve_methods({"a": "clip", "b": "clip"})) == ["a", "b"]
    with pytest.raises(InputError, match="no method was given"):
        resolve_methods([])


def test_words_of_another_number_of_classes_are_refused(backbone, data):
    with pytest.raises(InputError, match="2 classes and data set 'folder' 4"):
        run(backbone, data, vocabulary=ovss.load_vocabulary("cat; dog"))


def test_other_words_for_the_same_classes_can_be_given(backbone, data):
    words = ovss.load_vocabulary("background: floor; cat, kitten; sofa, couch; wall")
    evaluation = run(backbone, data, vocabulary=words)
    assert evaluation.summary()["vocabulary_hash"][0] == words.with_templates(["a {}."]).hash


def test_the_same_run_is_the_same_to_the_last_bit(backbone, data, tmp_path):
    for name in ("one", "two"):
        run(backbone, data, out=tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_worker_device_without_a_cluster_is_refused(backbone, data):
    with pytest.raises(InputError, match="goes with a cluster"):
        run(backbone, data, worker_device="cuda")


def test_protocol_resolution_reaches_the_rows(backbone, data):
    protocol = quick_protocol(background="threshold", threshold=0.9)
    strict = run(backbone, data, "clip", protocol=protocol)
    plain = run(backbone, data, "clip")
    assert strict.counts("clip")[:, 2, 0].sum() > plain.counts("clip")[:, 2, 0].sum()
    assert strict.facts["protocol_hash"] != plain.facts["protocol_hash"]
    assert replace(protocol, threshold=0.8).hash != protocol.hash
    cells = [one.table()["protocol"].tolist() for one in (strict, plain)]
    assert cells[0] != cells[1]
    assert [name for name, _ in (cell[0].split() for cell in cells)] == ["study", "study"]
    assert all(
        one.facts["protocol_hash"].startswith(cell[0].split()[1])
        for one, cell in zip((strict, plain), cells, strict=True)
    )


def test_rows_say_their_support_and_what_is_set_for_their_data_set(backbone, data, tmp_path):
    file = tmp_path / "own.toml"
    tuned = "logit_scale = 50\nmethods.naclip = {sigma = 3.0}\n"
    file.write_text(f'extends = "study"\ntemplates = ["a {{}}."]\n[datasets.folder]\n{tuned}')
    labels = {"plain": "clip", "tuned": "naclip", "mine": "naclip(sigma=2.0)"}
    table = run(backbone, data, labels, protocol=ovss.load_protocol(file)).table().set_index("method")
    assert table["support"].unique().tolist() == ["TF-SF"]
    assert table["set per data set"].tolist() == ["logit_scale", "logit_scale, sigma", "logit_scale"]
    assert run(backbone, data, "clip").table()["set per data set"].tolist() == ["none"]


def test_a_handful_of_images_has_numbers_but_no_interval_and_says_so(backbone, data):
    evaluation = run(backbone, data, ["clip", "naclip"], limit=4)
    assert evaluation.summary()["mIoU"].notna().all()
    assert evaluation.summary()["mIoU_low"].isna().all()
    assert evaluation.table()["mIoU"].str.endswith("[too few images for an interval]").all()
    assert evaluation.compare("clip", "naclip")["low"].isna().all()


def test_every_record_is_read_once_for_all_tables(backbone, data, tmp_path, monkeypatch):
    made = run(backbone, data, ["clip", "naclip", "maskclip"], out=tmp_path / "run", shard_size=3)
    shards = [shard for shard, _ in made.records()]
    reads, read = [], Record.from_bytes

    def counting(content, key, shard):
        reads.append(shard)
        return read(content, key, shard)

    monkeypatch.setattr(Record, "from_bytes", counting)
    evaluation = Evaluation.load(tmp_path / "run")
    evaluation.save(tmp_path / "run")
    evaluation.compare("clip", "naclip")
    assert len(shards) > 1
    assert reads == shards
