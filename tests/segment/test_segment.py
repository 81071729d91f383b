"""Your image, your words: what comes back, and what is refused."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from paths import shared_path
from PIL import Image

import ovss
from ovss.errors import InputError
from ovss.segment.scorer import Scorer


@pytest.fixture(scope="module")
def tiny():
    return ovss.load_backbone("tiny")


@pytest.fixture(scope="module")
def sample():
    return ovss.load_dataset("scenes")[0]


def test_ten_lines_are_enough(tiny, sample):
    segmentation = ovss.Segmenter(tiny, "naclip", ovss.load_dataset("scenes").classes)(sample.image)
    assert segmentation.labels.shape == sample.labels.shape
    assert segmentation.labels.dtype == np.int64
    assert segmentation.scores.shape == (22, *sample.labels.shape)
    assert segmentation.scores.dtype == np.float32
    assert np.array_equal(segmentation.scores.argmax(0), segmentation.labels)
    assert (segmentation.labels == sample.labels).mean() > 0.3
    assert sum(segmentation.shares.values()) == pytest.approx(1)


def test_several_methods_share_one_pass_and_give_what_each_gives_alone(tiny, sample, monkeypatch):
    protocol, vocabulary = ovss.load_protocol("study"), ovss.load_vocabulary("scenes")
    vocabulary = vocabulary.with_templates(protocol.templates[:3])
    names = ["clip", "maskclip", "naclip"]
    alone = {}
    for name in names:
        scorer = Scorer(tiny, {name: ovss.create_method(name)}, vocabulary, protocol)
        alone[name] = scorer.score([scorer.prepare(sample.image)])[0][name].cosines()
    passes = []
    original = tiny.encode_tokens
    monkeypatch.setattr(tiny, "encode_tokens", lambda *a, **k: passes.append(1) or original(*a, **k))
    scorer = Scorer(tiny, {name: ovss.create_method(name) for name in names}, vocabulary, protocol)
    fields = scorer.score([scorer.prepare(sample.image)])[0]
    assert len(passes) == 1
    for name in names:
        assert torch.allclose(fields[name].cosines(), alone[name], atol=1e-5)


def test_images_scored_together_give_what_each_gives_alone(tiny):
    data = ovss.load_dataset("scenes")
    pictures = [data[0].image, data[1].image.resize((150, 200)), data[2].image.resize((301, 110))]
    protocol, vocabulary = ovss.load_protocol("study"), ovss.load_vocabulary("scenes")
    vocabulary = vocabulary.with_templates(("a photo of a {}.",))
    scorer = Scorer(tiny, {"naclip": ovss.create_method("naclip")}, vocabulary, protocol, batch_size=5)
    together = scorer.score([scorer.prepare(picture) for picture in pictures])
    for picture, fields in zip(pictures, together, strict=True):
        alone = scorer.score([scorer.prepare(picture)])[0]["naclip"]
        assert fields["naclip"].size == (picture.height, picture.width)
        assert torch.allclose(fields["naclip"].cells, alone.cells, atol=1e-5)


def test_windows_that_are_not_multiples_of_the_patch_are_seen_in_whole_patches_and_stretched(tiny):
    protocol = ovss.load_protocol("study", relative=False, short_side=45, window=None, stride=None)
    vocabulary = ovss.load_vocabulary("grass; sky").with_templates(("{}",))
    scorer = Scorer(tiny, {"maskclip": ovss.create_method("maskclip")}, vocabulary, protocol)
    prepared = scorer.prepare(Image.effect_noise((60, 45), 90).convert("RGB"))
    field = scorer.score([prepared])[0]["maskclip"]
    assert field.cells.shape == (2, 5, 7)
    oracle = F.interpolate(field.cells[None], size=(45, 60), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(field.cosines(), oracle, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (4000, 60), (60, 4000), (3000, 2000), (17, 23)])
def test_images_of_any_shape_come_back_at_their_own_size(tiny, size):
    segmentation = ovss.Segmenter(tiny, "naclip", "grass; sky")(Image.new("RGB", size, "green"))
    assert segmentation.labels.shape == (size[1], size[0])


def test_a_strip_thinner_than_a_patch_is_refused(tiny):
    with pytest.raises(InputError, match=r"4000x3 pixels becomes 2048x2 .* less than one patch"):
        ovss.Segmenter(tiny, "naclip", "grass; sky")(Image.new("RGB", (4000, 3)))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
def test_an_image_of_which_no_pixel_would_be_left_is_refused(tiny, size):
    with pytest.raises(ovss.InputError, match=rf"an image of {size[0]}x{size[1]} pixels becomes .* it is too thin"):
        ovss.Segmenter(tiny, "naclip", "grass; sky")(Image.new("RGB", size))


def test_background_words_and_thresholds(tiny, sample):
    words = ovss.Segmenter(tiny, "naclip", "ladybird; star; background: grass, sky")
    assert words.classes == ("background", "ladybird", "star")
    argument = ovss.Segmenter(tiny, "naclip", ["ladybird", "star"], background="grass, sky")
    assert argument.classes == words.classes
    assert np.array_equal(words(sample.image).labels, argument(sample.image).labels)
    strict = ovss.Segmenter(tiny, "naclip", ["ladybird", "star"], background=0.9999)(sample.image)
    assert strict.shares.get("background", 0) > 0.5
    with pytest.raises(InputError, match="have a background already"):
        ovss.Segmenter(tiny, "naclip", "cat; background: sky", background="grass")
    with pytest.raises(InputError, match="not a probability"):
        ovss.Segmenter(tiny, "naclip", "cat; dog", background=1.5)
    with pytest.raises(InputError, match="empty word"):
        ovss.Segmenter(tiny, "naclip", "cat; dog", background="sky,,grass")


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_saved_files_hold_what_was_found(tiny, sample, tmp_path):
    segmentation = ovss.Segmenter(tiny, "naclip", "grass; sky; $x_1$; <b>bold</b>")(sample.image)
    overlay, mask, classes = segmentation.save(tmp_path / "deep" / "out.png")
    assert [file.name for file in (overlay, mask, classes)] == ["out_overlay.png", "out_mask.png", "out_classes.json"]
    with Image.open(mask) as stored:
        assert stored.mode == "P"
        assert np.array_equal(np.asarray(stored), segmentation.labels)
    described = json.loads(classes.read_text())
    assert [entry["name"] for entry in described["classes"]] == ["grass", "sky", "$x_1$", "<b>bold</b>"]
    with Image.open(overlay) as drawn:
        assert min(drawn.size) > 100


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_more_than_255_classes_are_stored_in_sixteen_bits(tiny, sample, tmp_path):
    protocol = ovss.load_protocol("study", templates=["{}"])
    words = [f"word{i}" for i in range(300)]
    segmentation = ovss.Segmenter(tiny, "naclip", words, protocol=protocol)(sample.image)
    _, mask, _ = segmentation.save(tmp_path / "many")
    with Image.open(mask) as stored:
        assert stored.mode.startswith("I")
        assert np.array_equal(np.asarray(stored), segmentation.labels)


def test_an_output_that_cannot_be_written_is_named(tiny, sample, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        ovss.Segmenter(tiny, "naclip", "grass; sky")(sample.image).save(tmp_path / "file" / "out")


def test_real_photos_keep_their_sizes(tiny):
    folder = shared_path("data", "coco_sample", "images")
    segmenter = ovss.Segmenter(tiny, "naclip", "grass; sky; brick")
    for file in sorted(folder.glob("*.jpg"))[:4]:
        with Image.open(file) as photo:
            assert segmenter(file).labels.shape == (photo.height, photo.width)


@pytest.mark.slow
def test_a_real_architecture_segments_a_photo():
    photo = sorted(shared_path("data", "coco_sample", "images").glob("*.jpg"))[0]
    backbone = ovss.load_backbone("ViT-B-16-quickgelu", "random")
    protocol = ovss.load_protocol("window224", templates=["a photo of a {}."])
    segmentation = ovss.Segmenter(backbone, "naclip", "person; dog; grass", protocol=protocol)(photo)
    with Image.open(photo) as opened:
        assert segmentation.labels.shape == (opened.height, opened.width)
