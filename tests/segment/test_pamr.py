import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import ovss
from ovss.errors import InputError
from ovss.methods import create_method
from ovss.protocols import list_protocols, load_protocol
from ovss.segment.pamr import Pamr, pamr
from ovss.segment.scorer import Scorer

CASES = {
    "refined_it1_dil1": (1, (1,)),
    "refined_it3_dil1-2": (3, (1, 2)),
    "refined_it10_dil8-16": (10, (8, 16)),
    "refined_it2_dil1-2-4-8-12-24": (2, (1, 2, 4, 8, 12, 24)),
}


@pytest.fixture(scope="module")
def reference(goldens):
    return dict(np.load(goldens / "naclip" / "unit_pamr.npz"))


@pytest.fixture(scope="module")
def guide(reference):
    mean, std = torch.tensor([122.771, 116.746, 104.094]), torch.tensor([68.501, 66.632, 70.323])
    return ((torch.from_numpy(reference["image"]).float() - mean) / std).permute(2, 0, 1)


def random_case(classes=7, height=30, width=21, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(3, height, width, generator=generator)
    return image, torch.randn(classes, height, width, generator=generator)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_authors_output(reference, guide, name):
    iterations, dilations = CASES[name]
    found = pamr(guide, torch.from_numpy(reference["mask"]), iterations, dilations)
    expected = torch.from_numpy(reference[name])
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_smaller_maps_are_enlarged_first_as_the_authors_do(reference, guide):
    low = torch.from_numpy(reference["mask"])[:, ::4, ::4]
    expected = torch.from_numpy(reference["refined_lowres_mask"])
    assert (pamr(guide, low, 3, (1, 2)) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_equals_a_loop_over_pixels():
    image, scores = random_case(2, 5, 4)
    pixel = image.numpy().astype(np.float64)
    expected = np.zeros((2, 5, 4))
    for y in range(5):
        for x in range(4):
            inside = lambda d, y=y, x=x: [  # noqa: E731
                (min(max(y + d * i, 0), 4), min(max(x + d * j, 0), 3)) for i in (-1, 0, 1) for j in (-1, 0, 1)
            ]
            pool = [pixel[:, r, c] for d in (1, 2) for r, c in inside(d)]
            spots = [spot for d in (1, 2) for k, spot in enumerate(inside(d)) if k != 4]
            scale = 1e-8 + 0.1 * np.std(pool, axis=0, ddof=1)
            energy = np.array([-np.mean(np.abs(pixel[:, y, x] - pixel[:, r, c]) / scale) for r, c in spots])
            weight = np.exp(energy - energy.max())
            weight /= weight.sum()
            expected[:, y, x] = sum(w * scores[:, r, c].numpy() for w, (r, c) in zip(weight, spots, strict=True))
    assert pamr(image, scores, 1, (1, 2)).numpy() == pytest.approx(expected, abs=1e-5)


def test_result_does_not_depend_on_the_memory_bound():
    image, scores = random_case(37)
    whole = pamr(image, scores)
    for memory in (0, 200_000, 300_000):
        assert torch.equal(pamr(image, scores, memory=memory), whole)


def test_scores_spread_within_an_object_and_not_across_its_edge():
    generator = torch.Generator().manual_seed(0)
    image = 0.01 * torch.randn(3, 40, 40, generator=generator)
    image[:, :, 20:] += 5
    scores = torch.zeros(1, 40, 40)
    scores[:, 10:30, 10:20] = 1
    refined = pamr(image, scores, 10, (1, 2))
    assert refined[:, :, 20:].max() < 0.02
    assert refined[0, 15:25, 8].mean() > 0.15


def test_weights_sum_to_one_so_a_constant_map_stays():
    image, scores = random_case()
    assert torch.allclose(pamr(image, torch.full_like(scores, 2.5)), torch.tensor(2.5), atol=1e-5)


def test_a_flat_image_averages_its_neighbours():
    scores = torch.arange(9.0).view(1, 3, 3)
    refined = pamr(torch.zeros(3, 3, 3), scores, 1, (1,))
    assert refined[0, 1, 1] == pytest.approx(4)
    assert torch.isfinite(refined).all()


def test_one_image_serves_several_sets_of_scores():
    image, scores = random_case()
    guide = Pamr(image)
    parts = torch.cat([guide.refine(scores[:3]), guide.refine(scores[3:])])
    assert torch.equal(parts, pamr(image, scores))


def test_no_iteration_leaves_the_scores_and_no_argument_is_changed():
    image, scores = random_case()
    before = image.clone(), scores.clone()
    assert torch.equal(pamr(image, scores, 0), scores)
    pamr(image, scores)
    assert torch.equal(image, before[0])
    assert torch.equal(scores, before[1])


def test_half_precision_scores_are_refined_in_single_precision():
    image, scores = random_case()
    assert torch.equal(pamr(image, scores.half()), pamr(image, scores.half().float()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iterations": -1}, "iterations must be 0 or more, not -1"),
        ({"dilations": (0, 8)}, r"dilations \(0, 8\) must be distances of at least 1"),
        ({"dilations": ()}, "dilations"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        pamr(*random_case(), **arguments)


@pytest.mark.parametrize("guide", ["input", "original"])
def test_a_protocol_guides_by_the_networks_input_at_the_original_size_or_by_the_original(guide):
    model = ovss.load_backbone(device="cpu", dtype="float32")
    vocabulary = ovss.load_vocabulary("ladybird; star; sky").with_templates(("{}",))
    image = Image.effect_noise((150, 121), 90).convert("RGB")

    def cosines(**options):
        protocol = load_protocol("study", templates=["{}"], **options)
        scorer = Scorer(model, {"m": create_method("naclip")}, vocabulary, protocol)
        return scorer.score([scorer.prepare(image)])[0]["m"].cosines()

    pixels = np.array(image)
    if guide == "input":
        pixels = cv2.resize(pixels, (int(150 * 96 / 121 + 0.5), 96), interpolation=cv2.INTER_LINEAR)
    mean, std = np.array(model.mean), np.array(model.std)
    shown = torch.from_numpy(((pixels / 255 - mean) / std).transpose(2, 0, 1)).float()
    shown = F.interpolate(shown[None], size=(121, 150), mode="bilinear", align_corners=False)[0]
    found = cosines(pamr_iterations=3, pamr_dilations=[2, 5], pamr_guide=guide)
    torch.testing.assert_close(found, pamr(shown, cosines(), 3, (2, 5)), atol=1e-4, rtol=0)
    swapped = {"input": "original", "original": "input"}[guide]
    other = cosines(pamr_iterations=3, pamr_dilations=[2, 5], pamr_guide=swapped)
    assert (found - other).abs().max() > 1e-3


@pytest.mark.parametrize("method", ["clearclip", "cliptrase"])
def test_tcl_refines_each_window_at_a_quarter_of_a_patch_before_windows_are_put_together(method):
    """TCL's order of steps, one window at a time: pad, score, refine at the masks' size, enlarge, cut off, average."""
    model = ovss.load_backbone(device="cpu", dtype="float32")
    vocabulary = ovss.load_vocabulary("ladybird; star; watermelon; grass").with_templates(("{}",))
    side, step, size = 60, 30, (90, 120)
    shape = {"relative": False, "short_side": 90, "window": side, "stride": step, "window_remainder": "pad"}
    rules = {"pamr_iterations": 3, "pamr_dilations": [1, 4]}
    protocol = load_protocol("study", templates=["{}"], pamr_cells=4, **shape, **rules)
    scorer = Scorer(model, {"m": create_method(method)}, vocabulary, protocol)
    windowed = scorer.prepare(Image.effect_noise(size[::-1], 90).convert("RGB"))
    found = scorer.score([windowed])[0]["m"].cosines()

    variant = create_method(method, **({"naming": "mean"} if method == "cliptrase" else {}))
    total, cover, patch = torch.zeros(4, *size), torch.zeros(size), model.patch_size
    before, behind = 2, 2
    assert side + before + behind == 8 * patch
    for top in (0, 30):
        for left in (0, 30, 60):
            window = F.pad(windowed.pixels[None, :, top : top + side, left : left + side], (before, behind) * 2)
            tokens = model.encode_tokens(window)
            masks = variant.patch_scores(tokens, scorer.text)
            if method == "cliptrase":
                masks = variant.refine_scores(F.interpolate(masks, size=window.shape[-2:], mode="bilinear"), tokens)
            guide = F.interpolate(window, size=(32, 32), mode="bilinear", align_corners=True)[0]
            masks = pamr(guide, masks[0], 3, (1, 4))
            masks = F.interpolate(masks[None], size=window.shape[-2:], mode="bilinear", align_corners=False)[0]
            inside = slice(before, before + side)
            total[:, top : top + side, left : left + side] += masks[:, inside, inside]
            cover[top : top + side, left : left + side] += 1
    torch.testing.assert_close(found, total / cover, atol=1e-5, rtol=0)
    late = Scorer(model, scorer.methods, vocabulary, load_protocol("study", templates=["{}"], **shape, **rules))
    assert (late.score([windowed])[0]["m"].cosines() - found).abs().max() > 1e-3


def test_every_shipped_protocol_guides_by_the_networks_input():
    assert {load_protocol(name).pamr_guide for name in list_protocols()} == {"input"}


def test_wrong_shapes_are_refused():
    image, scores = random_case()
    with pytest.raises(InputError, match="scores must be"):
        pamr(image, scores[0])
    with pytest.raises(InputError, match="image must be"):
        pamr(image[0], scores)
