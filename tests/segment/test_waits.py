"""A batch waits once for its device: counted on a device that is not there, see `pretended_device`."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended_device import ELSEWHERE, Elsewhere, Waits, moved, send

import ovss
from ovss.backbone.devices import constant, tally, to_device, to_host
from ovss.evaluation.counting import count_tensors
from ovss.evaluation.job import Job
from ovss.evaluation.pipeline import Pipeline
from ovss.evaluation.records import Shard
from ovss.methods import default_methods, resolve_methods
from ovss.metrics import count_labels
from ovss.protocols import load_protocol

ROOMS = ("evaluation", "ingredients", "methods", "segment")
WAITING = {"bincount", "cpu", "item", "masked_select", "nonzero", "numpy", "tolist", "unique"}
ON_HOST = {
    "evaluation/extras.py": "rows of records, from arrays",
    "evaluation/pipeline.py": "areas of the ground truth, from its array",
    "evaluation/rates.py": "tables of finished runs",
    "ingredients/clusters.py": "what has come by to_host",
    "ingredients/coherence.py": "the measure is for arrays",
    "ingredients/distraction.py": "RF-CLIP blends the few patches that are distracted: two waits a block",
    "ingredients/regions.py": "tables of sizes, and pixels that came by to_host",
    "ingredients/registers.py": "a search over images, once per model",
    "ingredients/window_stitcher.py": "tables of sizes",
    "methods/clipseg_aaai25.py": "tuning on labelled images, once",
    "segment/oracles.py": "what the ground truth answers is answered on the processor",
    "segment/presence.py": "the rule of presence picks words image by image, and is off by default",
    "segment/propagation.py": "tables of sizes",
    "segment/segmentation.py": "exports, from arrays",
    "segment/segmenter.py": "a tensor that the user gave",
    "segment/stitching.py": "tables of sizes",
    "segment/labels.py": "words that the rule of presence picked, and arrays on the processor",
    "segment/windows.py": "an image on the processor",
}


@pytest.fixture(scope="module")
def tiny():
    return ovss.load_backbone("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def scenes():
    return ovss.load_dataset("scenes")


def job_of(scenes, methods, extras=(), **protocol):
    rules = load_protocol("study", templates=["a {}."], **protocol).for_dataset(scenes.benchmark, "tiny")
    words = rules.vocabulary(scenes.vocabulary_name)
    return Job(resolve_methods(methods), words, rules, scenes, batch_size=16, shard_size=2, extras=extras)


def waits_of(tiny, job):
    """What a batch of two images waits for once words and tables are on the device, beside its record."""
    with moved(tiny):
        pipeline = Pipeline(job, tiny)
        for _ in range(2):
            with Waits() as waits:
                ((_, record),) = pipeline.run([Shard(0, 2)])
    return waits, record


def test_evaluation_waits_once_for_a_batch_whatever_the_number_of_methods(tiny, scenes):
    names = [name for name in default_methods() if name != "cliptrase"]
    job = job_of(scenes, names)
    ((_, expected),) = Pipeline(job, tiny).run([Shard(0, 2)])
    waits, record = waits_of(tiny, job)
    assert len(names) > 5
    assert [(found.split(":")[0], times) for found, times in waits.found.items()] == [
        ("to from the device at backbone/devices.py", 1)
    ]
    assert np.array_equal(record.rows, expected.rows), "counts on the device are those on the processor"


def test_clusters_cost_four_waits_for_a_batch_and_votes_one_for_each_window(tiny, scenes):
    waits, _ = waits_of(tiny, job_of(scenes, ["cliptrase"]))
    assert waits.total == 5, waits.found
    crop = {"relative": False, "short_side": 64, "crop": 64, "window": None, "stride": None}
    waits, _ = waits_of(tiny, job_of(scenes, ["cliptrase"], **crop))
    assert waits.total == 5 + 2, waits.found


def test_the_area_rule_asks_once_for_an_image_what_it_leaves_out(tiny, scenes):
    waits, _ = waits_of(tiny, job_of(scenes, ["clip"], area_rule=0.1))
    assert waits.total == 1 + 2, waits.found


def test_errors_and_confidences_fetch_label_maps_once_for_an_image(tiny, scenes):
    waits, _ = waits_of(tiny, job_of(scenes, ["clip", "naclip"], extras=("errors", "calibration")))
    assert waits.total == 1 + 2, waits.found


def test_segmenting_waits_once_for_a_batch(tiny, scenes):
    images = [scenes[number].image for number in range(2)]
    expected = [found.labels for found in ovss.Segmenter(tiny, "naclip", "star; grass; ladybird")(images)]
    with moved(tiny):
        segmenter = ovss.Segmenter(tiny, "naclip", "star; grass; ladybird")
        with Waits():
            segmenter(images)
        with Waits() as waits:
            found = segmenter(images)
    assert waits.total == 1, waits.found
    assert all(np.array_equal(one.labels, labels) for one, labels in zip(found, expected, strict=True))


def test_an_image_crosses_once_as_bytes(tiny, scenes):
    from ovss.segment.scorer import Scorer

    job = job_of(scenes, ["clip"])
    with moved(tiny), Waits() as waits:
        image = Scorer(tiny, job.methods, job.vocabulary, job.protocol).prepare(scenes[0].image)
        there = image.on(ELSEWHERE)
        windows = [there.crop(number) for number in range(len(image.offsets))]
    assert not waits.total, waits.found
    assert image.seen.dtype == torch.uint8
    assert isinstance(there.seen, Elsewhere)
    assert all(isinstance(one, Elsewhere) and one.dtype == torch.float32 for one in windows)
    # As windows were made before: the whole image in float32 on the processor, then cut.
    pixels = torch.from_numpy(np.array(image.seen.permute(1, 2, 0), dtype=np.float32)).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny.mean, tiny.std))
    whole = (pixels - mean) / std
    for number, one in enumerate(windows):
        row, column = divmod(number, len(image.columns.starts))
        top, left = image.rows.starts[row], image.columns.starts[column]
        cut = whole[:, top : top + image.rows.window, left : left + image.columns.window]
        assert torch.equal(one.values, cut)


@pytest.mark.parametrize("room", ROOMS)
def test_values_leave_the_device_by_one_function(room):
    package = Path(ovss.__file__).parent
    found = {}
    for path in sorted((package / room).glob("*.py")):
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        names = [call.func.attr for call in calls if isinstance(call.func, ast.Attribute)]
        if used := sorted(WAITING.intersection(names)):
            found[path.relative_to(package).as_posix()] = used
    listed = {name for name in ON_HOST if name.startswith(room)}
    assert set(found) == listed, {name: found.get(name) for name in set(found) ^ listed}


CALLS = {
    "item": lambda x: x[0].item(),
    "bool": lambda x: bool((x > 1).any()),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 1],
    "write by mask": lambda x: x.clone().__setitem__(x > 1, 0),
    "indices": lambda x: x[torch.tensor([0, 2])],
    "list": lambda x: x[[0, 2]],
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.bincount(),
    "cpu": lambda x: x.cpu(),
    "tensor": lambda x: torch.tensor([1, 2], device=x.device),
    "to": lambda x: torch.ones(3).to(x.device),
    "repeats": lambda x: x.repeat_interleave(x),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_waits_for_a_device_is_seen(name):
    x = send(torch.tensor([3, 1, 2]))
    with Waits() as waits:
        CALLS[name](x)
    assert waits.total >= 1
    with Waits() as waits:
        (x.float() @ x.float()).clamp(0, 1) + x.sum(), x[1:], x.to(torch.int32), torch.zeros(3, device=x.device)
        torch.ones(3).to(x.device, non_blocking=True)
    assert not waits.total, waits.found


def test_tensors_of_two_devices_are_refused_as_cuda_would():
    with Waits(), pytest.raises(RuntimeError, match="same device"):
        send(torch.ones(3)) + torch.ones(3)


def test_tensors_of_any_shape_and_number_format_come_back_by_one_copy():
    sent = [
        torch.tensor([[True, False]]),
        torch.arange(6).view(2, 3),
        torch.tensor(0.25),
        torch.arange(3, dtype=torch.uint8),
        torch.empty(0, 4),
        torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).T,
    ]
    with Waits() as waits:
        found = to_host([to_device(one, ELSEWHERE) for one in sent])
    assert waits.total == 1
    for one, array in zip(sent, found, strict=True):
        assert array.dtype == one.numpy().dtype
        assert np.array_equal(array, one.numpy())
    assert to_host([]) == []


def test_constants_are_copied_once():
    with Waits() as waits:
        first, again = constant((1, 2, 3), ELSEWHERE), constant((1, 2, 3), ELSEWHERE)
    assert first is again
    assert constant((1, 2, 3), ELSEWHERE, torch.float32).dtype == torch.float32
    assert waits.total == 0


@pytest.mark.parametrize("seed", range(3))
def test_counts_on_a_device_are_those_of_the_metrics(seed):
    generator, classes = np.random.default_rng(seed), 7
    truth = generator.integers(-1, classes - seed, (40, 30))
    guess = generator.integers(0, classes, (40, 30))
    expected = count_labels(guess, np.where(truth < 0, 255, truth), classes)[[0, 2]]
    here = count_tensors(torch.from_numpy(guess), torch.from_numpy(truth), classes)
    assert np.array_equal(here.numpy(), expected)
    with Waits() as waits:
        there = count_tensors(send(torch.from_numpy(guess)), send(torch.from_numpy(truth)), classes)
        often = tally(send(torch.from_numpy(guess)), classes)
    assert not waits.total, waits.found
    assert torch.equal(there.values, here)
    assert torch.equal(often.values, tally(torch.from_numpy(guess), classes))
