"""Windows that do not fit a GPU: one line says what to try. The error is raised here, where no GPU is at hand."""

import pytest
import torch
from PIL import Image

import ovss
from ovss.errors import InputError


@pytest.mark.parametrize(("fits", "size", "message"), [(4, 16, "a batch size of 8"), (0, 1, "smaller windows")])
def test_windows_that_do_not_fit_the_gpu_name_the_batch_size_to_try(monkeypatch, fits, size, message):
    backbone = ovss.load_backbone("tiny")
    encode = backbone.encode_tokens

    def limited(images, **options):
        if len(images) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return encode(images, **options)

    monkeypatch.setattr(backbone, "encode_tokens", limited)
    protocol = ovss.load_protocol("study", templates=["a {}."], window=64, stride=32, short_side=256, relative=False)
    image = Image.new("RGB", (300, 300), (40, 90, 20))
    segmenter = ovss.Segmenter(backbone, "clip", "grass; sky", protocol=protocol, batch_size=size)
    with pytest.raises(InputError, match=rf"{size} windows? of 64x64 pixels do not fit .*; try {message}") as error:
        segmenter(image)
    assert "\n" not in str(error.value)
    if fits:
        ovss.Segmenter(backbone, "clip", "grass; sky", protocol=protocol, batch_size=fits)(image)


def full(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize(("dtype", "advice"), [("float32", "try float16, another"), ("bfloat16", "try another")])
def test_weights_that_do_not_fit_the_gpu_are_named_with_their_number(monkeypatch, dtype, advice):
    move = torch.nn.Module.to
    # Only the call that names device and number format moves the finished model.
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda self, *to, **how: (full if len(to) == 2 else move)(self, *to, **how)
    )
    message = rf"the 4 million weights of tiny \({dtype}\) do not fit the memory of cpu; {advice} device or a smaller"
    with pytest.raises(InputError, match=message):
        ovss.load_backbone("tiny", device="cpu", dtype=dtype)


def test_texts_that_do_not_fit_the_gpu_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path))
    backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
    monkeypatch.setattr(backbone, "encode_text", full)
    with pytest.raises(InputError, match="80 texts at a time do not fit the memory of cpu with tiny; try float16 or"):
        ovss.Segmenter(backbone, "clip", "grass; sky")(Image.new("RGB", (64, 64)))
