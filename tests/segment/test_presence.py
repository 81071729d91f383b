"""The prior on presence: by hand on the words of each image, the same for Segmenter and evaluate, off by default."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ovss
from ovss.errors import InputError
from ovss.protocols import load_protocol
from ovss.segment.labels import LabelRule
from ovss.segment.presence import evident_classes
from ovss.vocabulary import embed_vocabulary

ONE = {"templates": ["a {}."]}


@pytest.fixture(scope="module")
def tiny():
    return ovss.load_backbone("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def prior():
    return load_protocol("study", presence="crops", **ONE)


@pytest.mark.parametrize("dataset", ["scenes", "scenes-objects"])
def test_words_that_stay_are_those_of_the_rule(tiny, prior, dataset):
    plain = load_protocol("study", **ONE)
    dropped = 0
    for sample in (ovss.load_dataset(dataset)[index] for index in range(4)):
        before = ovss.Segmenter(tiny, "maskclip", dataset, protocol=plain)
        after = ovss.Segmenter(tiny, "maskclip", dataset, protocol=prior)
        words, rule = before.vocabulary, before._scorer.rule
        text = embed_vocabulary(tiny, words)
        image = before._scorer.prepare(sample.image)
        small = F.interpolate(image.pixels[None], (64, 64), mode="bilinear", antialias=True)[0]
        named = set()
        for crop in [small, *(image.crop(window) for window in range(len(image.offsets)))]:
            answer = F.normalize(tiny.encode_image(crop[None]).float(), dim=-1) @ text.T
            chances = (rule.scale * answer[0]).softmax(0)
            named |= {words.query_class[index] for index in range(len(chances)) if chances[index] >= 1 / len(chances)}
        cosines = before(sample.image)._score_map.cosines().numpy()
        best = np.array(words.query_class)[cosines.argmax(0)]
        kept = named | {c for c in range(len(words.classes)) if (best == c).mean() >= 1 / len(words.classes)}
        if words.background is not None:
            kept |= {words.background}
        found = after(sample.image)
        assert set(np.unique(found.labels)) <= kept
        offered = [index for index, owner in enumerate(words.query_class) if owner in kept]
        left = np.array(words.query_class)[offered][cosines[offered].argmax(0)]
        chances = np.exp(rule.scale * (cosines[offered] - cosines[offered].max(0)))
        if rule.threshold is not None:
            left[1 / chances.sum(0) < rule.threshold] = rule.background
        assert (found.labels != left).mean() < 1e-3
        assert all((found.scores[c] == 0).all() for c in set(range(len(words.classes))) - kept)
        dropped += len(words.classes) - len(kept)
    assert dropped > 10, "the rule drops words"


def test_some_class_always_stays(tiny, prior):
    rule = LabelRule((0, 1, 2), 3, scale=1.0, background=0, threshold=None, area=None)
    assert evident_classes(torch.zeros(2, 3), rule).all(), "chance itself is enough"
    grey = np.full((96, 96, 3), 128, np.uint8)
    for words in ("ladybird", "ladybird; star; grass"):
        assert ovss.Segmenter(tiny, "clip", words, protocol=prior)(grey).labels.shape == (96, 96)


def test_it_is_off_by_default_and_part_of_the_hash():
    assert load_protocol("study").presence == "none"
    hashes = {load_protocol("study", presence=kind).hash for kind in ("none", "crops")}
    assert len(hashes) == 2
    assert load_protocol("study").hash == load_protocol("study", presence="none").hash
    with pytest.raises(InputError, match="presence = 'often' must be one of none, crops"):
        load_protocol("study", presence="often")


def test_scores_under_the_prior_cannot_be_saved_for_relabelling(tiny, prior, tmp_path):
    with pytest.raises(InputError, match="chooses words by the model's answers"):
        ovss.evaluate(tiny, "clip", "scenes", protocol=prior, limit=1, out=tmp_path, keep_scores="float32")


def test_windows_that_share_attention_have_the_same_prior(tiny, prior):
    image = ovss.load_dataset("scenes")[0].image
    apart, shared = (
        ovss.Segmenter(tiny, "maskclip" if windows == "apart" else "clip", "scenes", protocol=prior, windows=windows)
        for windows in ("apart", "shared")
    )
    assert apart(image).labels.shape == shared(image).labels.shape
