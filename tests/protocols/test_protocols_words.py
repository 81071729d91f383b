"""One way from a protocol to words: what `Segmenter` labels with is what `evaluate` counts with, pixel for pixel."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

import ovss
from ovss.backbone import Backbone
from ovss.datasets.base import Dataset, Sample, class_names, void_label
from ovss.errors import InputError
from ovss.evaluation import pipeline
from ovss.vocabulary.tables import list_vocabularies

PROTOCOLS, DATASETS = ovss.list_protocols(), list_vocabularies()
METHODS = ("resclip",)


@pytest.fixture(scope="module")
def model():
    """A small random model for images of 224 pixels, which every protocol accepts."""
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


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVSS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class Drawn(Dataset):
    """Two small images with random labels and some void, under the name and with the classes of a benchmark."""

    split = "test"
    ids = ("wide", "high")

    def __init__(self, name):
        self.name = self.vocabulary_name = name
        self.classes = class_names(name)
        self.background = 0 if self.classes[0] == "background" else None
        self.void = void_label(self.classes)
        self.fingerprint = name

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        generator = np.random.default_rng(index)
        height, width = (36, 52) if index == 0 else (61, 40)
        image = Image.fromarray(generator.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8))
        labels = generator.integers(0, len(self.classes), (height, width))
        labels[generator.random((height, width)) < 0.1] = self.void
        return Sample(image.resize((width, height)), labels.astype(np.int64), self.ids[index])


def short(name):
    """A protocol with two of its templates, so that hundreds of words cost little."""
    return ovss.load_protocol(name, templates=ovss.load_protocol(name).templates[:2])


@pytest.fixture
def counted(monkeypatch):
    """Label maps as `evaluate` counts them: for each image, in order, the maps of its methods."""
    seen, original = [], pipeline.count_tensors

    def watched(labels, truth, classes):
        if not seen or len(seen[-1]) == len(METHODS):
            seen.append([])
        seen[-1].append(labels.numpy().copy())
        return original(labels, truth, classes)

    monkeypatch.setattr(pipeline, "count_tensors", watched)
    return seen


def assert_segmenter_agrees(model, classes, data, protocol, counted, **options):
    """Same words, same rules, same parameters, same label of every pixel."""
    # One image per record, so that both run the same windows in one batch and the arithmetic is the same.
    evaluation = ovss.evaluate(model, METHODS, data, protocol=protocol, shard_size=1, batch_size=16, **options)
    for number, method in enumerate(METHODS):
        segmenter = ovss.Segmenter(model, method, classes, protocol=protocol)
        assert segmenter.vocabulary.hash == evaluation.facts["vocabulary_hash"]
        assert segmenter.protocol.hash == evaluation.facts["protocol_hash"]
        assert segmenter.method.parameters == evaluation.methods[method]["parameters"]
        for sample, maps in zip(data, counted, strict=True):
            assert np.array_equal(segmenter(sample.image).labels, maps[number]), (method, sample.id)
    return evaluation


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "resclip" else ()) for name in PROTOCOLS]
)
def test_segmenter_and_evaluate_label_every_pixel_alike(model, counted, name, dataset):
    protocol = short(name)
    evaluation = assert_segmenter_agrees(model, dataset, Drawn(dataset), protocol, counted)
    assert evaluation.facts["vocabulary_hash"] == protocol.vocabulary(dataset).hash
    assert protocol.vocabulary(dataset) == protocol.for_dataset(dataset, model.name).vocabulary(dataset)


@pytest.mark.parametrize("rule", ["none", "threshold", "channel", "queries"])
@pytest.mark.parametrize("dataset", ["scenes-objects", "voc21", "voc20"])
def test_segmenter_and_evaluate_agree_under_every_background_rule(model, counted, dataset, rule):
    threshold = 0.2 if rule in ("threshold", "channel") else None
    protocol = ovss.load_protocol("study", templates=["a {}."], background=rule, threshold=threshold)
    assert_segmenter_agrees(model, dataset, Drawn(dataset), protocol, counted)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("rule", ["threshold", "channel", "queries"])
def test_a_users_own_words_are_the_same_to_both(model, counted, name, rule):
    words = "background: wall, floor; cat, kitten; sofa"
    data = Drawn("scenes-objects")
    data.name, data.classes, data.void = "mine", ("background", "cat", "sofa"), 255
    protocol = ovss.load_protocol(name, templates=["a {}."], background=rule, threshold=0.3)
    vocabulary = ovss.load_vocabulary(words)
    evaluation = assert_segmenter_agrees(model, words, data, protocol, counted, vocabulary=vocabulary)
    found = protocol.vocabulary(words)
    assert found.hash == evaluation.facts["vocabulary_hash"]
    assert found.words[0] == (() if rule == "channel" else ("wall", "floor"))
    assert found.templates == ("a {}.",)


def test_who_names_no_protocol_gets_the_common_ground_of_the_papers(model):
    assert ovss.Segmenter(model, "naclip", "cat; dog").protocol == ovss.load_protocol("window224").for_words(
        "cat; dog", model.name
    )
    assert ovss.evaluate(model, "naclip", Drawn("voc20")).facts["protocol"] == "window224"
    assert ovss.Segmenter(ovss.load_backbone("tiny"), "naclip", "grass; sky").protocol.name == "study"


def test_a_constant_background_takes_the_words_of_background_from_both():
    protocol = ovss.load_protocol("study", background="channel", threshold=0.5)
    assert len(ovss.load_vocabulary("scenes-objects").queries) == 30
    assert len(protocol.vocabulary("scenes-objects").queries) == 15
    segmenter = ovss.Segmenter(ovss.load_backbone("tiny"), "naclip", "scenes-objects", protocol=protocol)
    assert len(segmenter.vocabulary.queries) == 15


def test_the_variant_of_a_data_set_is_followed_before_the_protocol_is_resolved():
    protocol = ovss.load_protocol("cliptrase-224")
    assert protocol.variant == "cliptrase"
    assert protocol.vocabulary("cityscapes").variant == "sclip"
    assert protocol.vocabulary("voc21").words == ovss.load_vocabulary("voc21", "cliptrase").words
    assert protocol.vocabulary("voc21").templates == protocol.templates


def test_own_words_under_a_resolved_protocol_keep_its_rules():
    resolved = ovss.load_protocol("tcl").for_dataset("voc21")
    words = resolved.vocabulary("cat; dog", background="wall")
    assert words.classes == ("background", "cat", "dog")
    assert words.words[0] == ()
    assert resolved.for_words("cat; dog").background == "channel"
    assert resolved.for_words("ade150").background == "none"
    assert ovss.load_protocol("tcl").vocabulary("cat; dog", background="wall").words[0] == ("wall",)


def test_words_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match=r"no data set 'voc22'. Did you mean 'voc20'|'voc21'"):
        ovss.load_protocol("sclip").vocabulary("voc22")
    with pytest.raises(InputError, match="have a background already"):
        ovss.load_protocol("sclip").vocabulary("voc21", background="wall")
    with pytest.raises(InputError, match="no vocabulary variant 'tcl2'"):
        ovss.load_protocol("sclip", variant="tcl2").vocabulary("voc21")


@pytest.mark.parametrize("background", ["", [], "sky,,grass"])
def test_a_background_without_words_is_refused_by_the_segmenter(model, background):
    with pytest.raises(InputError, match=r"holds (no|an empty) word"):
        ovss.Segmenter(model, "naclip", "cat; dog", protocol="window224", background=background)
