"""Windows put together, at patch resolution and at pixels, in bounded memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import ovss
from ovss.ingredients import RegionMeans, RegionVotes, WindowScores
from ovss.methods import create_method
from ovss.methods.cliptrase import ClipTrase
from ovss.protocols import list_protocols, load_protocol
from ovss.segment.labels import LabelRule
from ovss.segment.scorer import Scorer
from ovss.segment.stitching import PixelScores
from ovss.segment.windows import Windows1D, axis_windows


def stitched_by_hand(
    pixels: list[torch.Tensor], rows: Windows1D, columns: Windows1D, size: tuple[int, int]
) -> torch.Tensor:
    """Sum of the windows over how many cover each pixel, resized; float64."""
    total = torch.zeros(len(pixels[0]), rows.size, columns.size, dtype=torch.float64)
    cover = torch.zeros(rows.size, columns.size, dtype=torch.float64)
    for number, window in enumerate(pixels):
        row, column = divmod(number, len(columns.starts))
        top, left = rows.starts[row], columns.starts[column]
        total[:, top : top + rows.window, left : left + columns.window] += window
        cover[top : top + rows.window, left : left + columns.window] += 1
    return F.interpolate((total / cover)[None], size=size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize(("stride", "size"), [(8, (70, 53)), (16, (70, 53)), (12, (33, 90)), (16, (44, 29))])
def test_windows_of_all_kinds_of_pixels_are_put_together_as_published(stride, size):
    generator = torch.Generator().manual_seed(stride)
    rows, columns = axis_windows(44, 16, stride), axis_windows(29, 16, stride)
    windows: list[WindowScores] = []
    for number in range(len(rows.starts) * len(columns.starts)):
        scores = torch.rand(5, 4, 4, generator=generator)
        region = torch.randint(0, 3, (16, 16), generator=generator)
        kinds = (WindowScores(scores, (16, 16)), RegionMeans(scores, region), RegionVotes(scores, region))
        windows.append(kinds[number % 3])
    rule = LabelRule((0, 1, 2, 3, 4), 5, 40.0, 0, None, None)
    field = PixelScores(
        windows=tuple(windows), rows=rows, columns=columns, size=size, rule=rule, protocol=load_protocol("window224")
    )
    oracle = stitched_by_hand([window.full().double() for window in windows], rows, columns, size)
    torch.testing.assert_close(field.cosines().double(), oracle, atol=1e-6, rtol=0)
    torch.testing.assert_close(field.cosines(slice(1, 3)).double(), oracle[1:3], atol=1e-6, rtol=0)
    clear = oracle.topk(2, dim=0).values.diff(dim=0)[0].abs() > 1e-5
    assert torch.equal(torch.from_numpy(field.labels())[clear], oracle.argmax(0)[clear])


@pytest.mark.parametrize("overlapping", [True, False])
def test_a_method_that_only_refines_pixels_gives_the_same_as_one_that_refines_windows(overlapping):
    """A user's own method may know nothing of windows made on demand."""

    class Pixels(ClipTrase):
        def refine_scores(self, scores, tokens, query_class=None):
            found = self.regions.windows(scores, tokens, scores.shape[-2:], query_class)
            return torch.stack([window.full() for window in found])

    model = ovss.load_backbone(device="cpu", dtype="float32")
    protocol = load_protocol("study", templates=["{}"], **({} if overlapping else {"window": None, "stride": None}))
    vocabulary = ovss.load_vocabulary("ladybird; star, watermelon; grass; sky").with_templates(("{}",))
    methods = {"lazy": create_method("cliptrase"), "all": Pixels(naming="mean" if overlapping else "vote")}
    scorer = Scorer(model, methods, vocabulary, protocol)
    picture = scorer.prepare(Image.effect_noise((90, 70), 90).convert("RGB"))
    assert picture.overlapping == overlapping
    fields = scorer.score([picture])[0]
    assert isinstance(fields["lazy"], PixelScores)
    torch.testing.assert_close(fields["lazy"].cosines(), fields["all"].cosines(), atol=2e-6, rtol=0)


def padded_by_hand(model, pixels, text, window, stride, method, size):
    """Each window filled up with zeros, the smaller half in front, scored, enlarged, cut; then mean and resize."""
    patch, (height, width) = model.patch_size, pixels.shape[1:]
    total, cover = torch.zeros(len(text), height, width), torch.zeros(height, width)
    for i in range(max(-(-(height - window) // stride), 0) + 1):
        for j in range(max(-(-(width - window) // stride), 0) + 1):
            bottom, right = min(i * stride + window, height), min(j * stride + window, width)
            top, left = max(bottom - window, 0), max(right - window, 0)
            crop = pixels[None, :, top:bottom, left:right]
            missing = [(patch - length % patch) % patch for length in crop.shape[2:]]
            before = [count // 2 for count in missing]
            filled = F.pad(crop, (before[1], missing[1] - before[1], before[0], missing[0] - before[0]))
            tokens = model.encode_tokens(filled)
            scores = method.patch_scores(tokens, text)
            if method.refines:
                scores = method.refine_windows(scores, tokens, filled.shape[2:])[0].full()[None]
            scores = F.interpolate(scores, size=filled.shape[2:], mode="bilinear", align_corners=False)[0]
            inside = scores[:, before[0] : before[0] + bottom - top, before[1] : before[1] + right - left]
            total[:, top:bottom, left:right] += inside
            cover[top:bottom, left:right] += 1
    assert cover.min() > 0
    return F.interpolate((total / cover)[None], size=size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("method", ["clearclip", "cliptrase"])
@pytest.mark.parametrize(("window", "stride", "size"), [(50, 30, (90, 120)), (75, 75, (61, 43)), (61, 20, (75, 75))])
def test_windows_that_are_not_whole_patches_are_filled_with_zeros_on_both_sides(method, window, stride, size):
    model = ovss.load_backbone(device="cpu", dtype="float32")
    shape = {"relative": False, "short_side": 75, "window": window, "stride": stride}
    protocol = load_protocol("study", templates=["{}"], window_remainder="pad", **shape)
    vocabulary = ovss.load_vocabulary("ladybird; star; watermelon; grass; sky").with_templates(("{}",))
    scorer = Scorer(model, {"m": create_method(method)}, vocabulary, protocol)
    picture = scorer.prepare(Image.effect_noise(size[::-1], 90).convert("RGB"))
    field = scorer.score([picture])[0]["m"]
    # Votes of windows that overlap cannot be averaged, so CLIPtrase's regions take mean scores there.
    by_mean = {"naming": "mean"} if method == "cliptrase" and picture.overlapping else {}
    variant = create_method(method, **by_mean)
    oracle = padded_by_hand(model, picture.pixels, scorer.text, window, stride, variant, size)
    torch.testing.assert_close(field.cosines(), oracle, atol=5e-6, rtol=0)
    stretched = Scorer(model, scorer.methods, vocabulary, load_protocol("study", templates=["{}"], **shape))
    other = stretched.score([stretched.prepare(picture.image)])[0]["m"].cosines()
    assert (other - oracle).abs().max() > 1e-3


def test_the_protocols_of_clearclip_proxyclip_and_tcl_fill_windows_up_and_the_others_do_not():
    for name in list_protocols():
        expected = "pad" if name.startswith(("clearclip", "proxyclip", "tcl")) else "stretch"
        assert load_protocol(name).window_remainder == expected


MEASURE = """
import json, sys
import torch
from PIL import Image
import ovss
from ovss.methods import Method, create_method
from ovss.methods.cliptrase import ClipTrase
from ovss.protocols import load_protocol
from ovss.segment.scorer import Scorer
from method_helpers import vision_tower

def kilobytes(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key))

torch.set_num_threads(2)
method, classes, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
model = vision_tower("ViT-B-16")
vocabulary = ovss.load_vocabulary("; ".join(ovss.load_vocabulary("ade847", "plain").classes[:classes]))
protocol = load_protocol("study", short_side=2.5, **options)
scorer = Scorer(model, {method: create_method(method)}, vocabulary, protocol)
queries = torch.randn(len(vocabulary.queries), model.embed_dim, generator=torch.Generator().manual_seed(0))
scorer.text = torch.nn.functional.normalize(queries, dim=-1)
picture = Image.effect_noise((64, 32), 90).resize((2048, 1024)).convert("RGB")
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")
before = kilobytes("VmRSS")
with torch.inference_mode():
    labels = scorer.score([scorer.prepare(picture)])[0][method].labels()
print(json.dumps({"shape": labels.shape, "megabytes": (kilobytes("VmHWM") - before) / 1024}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is read from Linux' /proc")
@pytest.mark.parametrize(
    ("method", "classes", "options"),
    [
        ("cliptrase", 847, {}),
        ("cliptrase", 847, {"window": None, "stride": None}),
        ("naclip", 64, {"pamr_iterations": 1, "pamr_dilations": [8, 16]}),
    ],
    ids=["cliptrase-overlapping", "cliptrase-whole", "naclip-pamr"],
)
def test_many_classes_on_2048_by_1024_pixels_keep_to_the_memory_bound(method, classes, options):
    """Methods that stay at patch resolution need less; PAMR takes few classes at a time, however many there are."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, method, str(classes), json.dumps(options)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["shape"] == [1024, 2048]
    assert found["megabytes"] < 1500
