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
