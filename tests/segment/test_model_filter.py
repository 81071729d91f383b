"""`resize_filter = "model"`: pixels are prepared as the transform of the weights prepares them, and results say how."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import normalize, resize, to_tensor

import ovss
from ovss.backbone import Backbone
from ovss.cli import main
from ovss.errors import InputError
from ovss.evaluation.relabel import relabel

MODES = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
SENTENCE = {"templates": ["a {}."]}


@pytest.fixture(scope="module")
def weights():
    return ovss.load_backbone("tiny", device="cpu", dtype="float32")


def model(weights, interpolation) -> Backbone:
    return Backbone(
        weights.model,
        name="tiny",
        pretrained="shipped",
        tokenizer=weights.tokenizer,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        interpolation=interpolation,
    )


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def prepared(backbone, protocol, image):
    return ovss.Segmenter(backbone, "clip", "grass; sky", protocol=protocol)._scorer.prepare(image)


@pytest.mark.parametrize("interpolation", [*MODES, None, "random"])
@pytest.mark.parametrize("size", [(150, 101), (40, 33)])
def test_windows_hold_the_pixels_that_torchvision_gives_by_the_models_own_filter(weights, interpolation, size):
    backbone, image = model(weights, interpolation), noise(*size)
    windows = prepared(backbone, ovss.load_protocol("study", resize_filter="model", **SENTENCE), image)
    height, width = windows.pixels.shape[-2:]
    assert (width, height) != size
    small = resize(
        image, [height, width], MODES[interpolation or "bicubic"] if interpolation != "random" else MODES["bicubic"]
    )
    expected = normalize(to_tensor(small), [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    for number, (top, left) in enumerate(windows.offsets.tolist()):
        cut = expected[:, top : top + windows.rows.window, left : left + windows.columns.window]
        assert torch.allclose(windows.crop(number), cut, atol=1e-6)


@pytest.mark.parametrize("interpolation", MODES)
def test_one_crop_of_the_native_size_is_what_open_clips_own_transform_gives(weights, interpolation):
    backbone, image = model(weights, interpolation), noise(150, 101)
    settings = PreprocessCfg(size=64, mean=backbone.mean, std=backbone.std, interpolation=interpolation)
    expected = image_transform_v2(settings, is_train=False)(image)
    sizes = {"relative": False, "short_side": 64, "crop": 64, "window": None, "stride": None, "size_rule": "cut"}
    protocol = ovss.load_protocol("study", resize_filter="model", **sizes, **SENTENCE)
    assert torch.allclose(prepared(backbone, protocol, image).crop(0), expected, atol=1e-6)


def test_a_model_with_an_unknown_filter_is_refused_where_a_protocol_asks_for_it_and_taken_elsewhere(weights):
    backbone, study = model(weights, "lanczos"), ovss.load_protocol("study", **SENTENCE)
    with pytest.raises(InputError, match=r"tiny names the interpolation 'lanczos'.* set resize_filter to pil-bicubic"):
        ovss.Segmenter(backbone, "clip", "grass; sky", protocol=replace(study, resize_filter="model"))
    assert ovss.Segmenter(backbone, "clip", "grass; sky", protocol=study)(noise(40, 50)).labels.shape == (50, 40)


def test_results_say_which_filter_it_was_and_those_of_two_filters_share_no_record(weights, tmp_path):
    scenes = ovss.load_dataset("scenes", length=2)
    own, fixed = (
        ovss.load_protocol("study", resize_filter=name, pamr_iterations=1, pamr_dilations=[1], **SENTENCE)
        for name in ("model", "pil-bilinear")
    )
    runs = {
        name: ovss.evaluate(model(weights, interpolation), "clip", scenes, protocol=protocol, **options)
        for name, interpolation, protocol, options in (
            ("bicubic", "bicubic", own, {}),
            ("bilinear", "bilinear", own, {"out": tmp_path / "run", "keep_scores": "float32"}),
            ("fixed", "bicubic", fixed, {}),
            ("fixed too", "bilinear", fixed, {}),
        )
    }
    shown = {name: run.summary()["resize_filter"].item() for name, run in runs.items()}
    assert shown.pop("bicubic") == "pil-bicubic"
    assert set(shown.values()) == {"pil-bilinear"}
    keys = {name: run.facts["key"] for name, run in runs.items()}
    assert keys["fixed"] == keys["fixed too"]
    assert len(set(keys.values())) == 3
    counts = {name: run.counts("clip") for name, run in runs.items()}
    assert np.array_equal(counts["bilinear"], counts["fixed"])
    assert not np.array_equal(counts["bilinear"], counts["bicubic"])
    # PAMR follows the resized image, which relabelling makes again without the model.
    again = relabel(tmp_path / "run", scenes)
    assert np.array_equal(again.counts("clip"), counts["bilinear"])
    assert again.facts["resize_filter"] == "pil-bilinear"


def test_a_protocol_file_may_leave_the_filter_to_the_model(tmp_path, capsys):
    own = tmp_path / "own.toml"
    own.write_text('extends = "study"\nresize_filter = "model"\ntemplates = ["a {}."]\n')
    for model, shown in (
        ("PE-Core-B-16", "pil-bilinear"),
        ("google/siglip2-base-patch16-224", "pil-bicubic"),
        ("tiny", "pil-bicubic"),
        ("a-model-of-mine", "as the weights say"),
    ):
        assert main(["list", "protocols", str(own), "--model", model]) == 0
        assert f"model ({shown})" in capsys.readouterr().out
    noise(60, 40).save(tmp_path / "a.png")
    command = ["segment", str(tmp_path / "a.png"), "-c", "grass; sky", "--protocol", str(own)]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "a_mask.png").is_file()
