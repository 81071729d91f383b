"""From image file to label map: what the authors' own unmodified pipelines give, pixel for pixel.

A few runs lie in the repository; more, with photographs and a full-size model, lie beside it.
"""

import json
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from method_helpers import golden_backbone
from paths import SHARED, shared_path

import ovss
from ovss.backbone import Backbone
from ovss.errors import InputError

HERE = Path(__file__).parent / "e2e"
BESIDE = SHARED / "goldens" / "e2e"
SHARE = {"tiny": 0.9999, "vitb16": 0.999}
"""Share of pixels that must agree; the full-size weights are random, and their classes lie close together."""


def cases(folder: Path) -> list[tuple[str, str]]:
    """Runs with each of their images; one of empty names, which skips, where the folder is missing."""
    if not folder.is_dir():
        return [("", "")]
    runs = json.loads((folder / "index.json").read_text(encoding="utf-8"))["runs"]
    return [(name, image) for name, run in runs.items() for image in run["images"]]


def from_history(sha: str, folder: Path) -> Backbone:
    """Embedded weights of an earlier version of the repository, by their hash; skips where its history is cut off."""
    git = ["git", "-C", str(Path(__file__).parent)]
    log = [*git, "log", "--all", "--format=", "--raw", "--no-abbrev", "--diff-filter=d", "--", ":/*.safetensors"]
    changes = subprocess.run(log, capture_output=True, text=True, check=False).stdout.splitlines()
    for blob in dict.fromkeys(change.split()[3] for change in changes):
        file = folder / f"{blob}.safetensors"
        file.write_bytes(subprocess.run([*git, "cat-file", "blob", blob], capture_output=True, check=True).stdout)
        try:
            model = ovss.load_backbone("tiny", str(file), device="cpu", dtype="float32")
        except InputError:  # weights of another architecture
            continue
        if model.weights_hash == sha:
            return model
    pytest.skip(f"weights {sha[:12]} of the label maps are neither shipped nor in the history of this checkout")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Gives the embedded model by the hash of its weights, whichever version of it is shipped."""

    @cache
    def find(sha: str) -> Backbone:
        shipped = ovss.load_backbone(device="cpu", dtype="float32")
        return shipped if shipped.weights_hash == sha else from_history(sha, tmp_path_factory.mktemp("weights"))

    return find


def found_and_expected(folder: Path, run_name: str, image: str, trained) -> tuple[np.ndarray, np.ndarray, str]:
    """Our label map, the authors', and the kind of weights."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    run = index["runs"][run_name]
    ours, photos = run["ours"], run["data"] == "photos"
    backbone = trained(index["weights"]["tiny"]) if run["weights"] == "tiny" else golden_backbone(run["weights"])
    lines = (folder / "words" / f"{run['data']}-cls.txt").read_text(encoding="utf-8").splitlines()
    method = ovss.create_method(ours["method"], **ours["parameters"])
    protocol = ovss.load_protocol(ours["protocol"], **ours["overrides"])
    segmenter = ovss.Segmenter(backbone, method, [line.split(", ") for line in lines], protocol=protocol)
    if photos:  # their text embeddings are given, for the text tower of random weights is another in each library
        segmenter._scorer.text = torch.from_numpy(np.load(folder / "words" / "photos-text.npy"))
        file = shared_path("data", "coco_sample", "images", f"{image.split('_')[1]}.jpg")
    else:
        file = folder / "images" / run["data"] / f"{image}.png"
    with np.load(folder / "labels.npz") as labels:
        return segmenter(file).labels, labels[f"{run_name}/{image}"], run["weights"]


@pytest.mark.parametrize(("run", "image"), cases(HERE))
def test_label_maps_of_the_repository_equal_the_authors(run, image, trained):
    found, expected, weights = found_and_expected(HERE, run, image, trained)
    assert found.shape == expected.shape
    # A pixel where two classes tie may fall either way on another processor.
    assert (found != expected).sum() <= max(1, (1 - SHARE[weights]) * expected.size)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "image"), cases(BESIDE))
def test_label_maps_beside_the_repository_equal_the_authors(run, image, trained):
    shared_path("goldens", "e2e")
    found, expected, weights = found_and_expected(BESIDE, run, image, trained)
    assert found.shape == expected.shape
    assert (found != expected).sum() <= max(1, (1 - SHARE[weights]) * expected.size)


def test_weights_that_are_no_longer_shipped_come_from_the_history(tmp_path):
    sha = json.loads((HERE / "index.json").read_text(encoding="utf-8"))["weights"]["tiny"]
    assert from_history(sha, tmp_path).weights_hash == sha
