"""Weights as people have them: read without running anything, or refused with the way out."""

import io
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from ovss.backbone import load_backbone
from ovss.backbone.checkpoints import read_checkpoint
from ovss.backbone.torchscript import is_torchscript
from ovss.errors import InputError

EXTRAS = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
"""What OpenAI's files hold beside weights."""


def activation_of(backbone) -> str:
    return type(backbone.model.visual.transformer.resblocks[0].mlp.gelu).__name__


@pytest.mark.parametrize("kind", ["safetensors", "pt", "state_dict", "model", "module"])
def test_checkpoint_files_load(tmp_path, base, kind):
    state = {key: value + 0.01 for key, value in base.model.state_dict().items()}
    file = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(state, file)
    elif kind == "module":
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, file)
    else:
        torch.save(state if kind == "pt" else {kind: state, "optimizer": {"step": 3}}, file)
    loaded = load_backbone("small-quickgelu", str(file))
    assert torch.equal(loaded.model.visual.proj, state["visual.proj"])
    assert loaded.pretrained == file.name


@pytest.fixture(scope="module")
def archive(base, tmp_path_factory):
    """The small model as OpenAI publishes its own: traced, in half precision, with numbers as buffers."""
    model = load_backbone("small-quickgelu", "random").model
    for name, value in EXTRAS.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    for block in model.transformer.resblocks:
        block.attn_mask = model.attn_mask.clone()
    inputs = torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.int)
    traced = torch.jit.trace(model, inputs, check_trace=False)
    for parameter in traced.parameters():
        parameter.data = parameter.data.half()
    file = tmp_path_factory.mktemp("archive") / "ViT-B-16.pt"
    torch.jit.save(traced, file)
    return file


@pytest.mark.filterwarnings("ignore")
def test_openais_archives_are_read_as_torch_itself_reads_them(archive):
    assert is_torchscript(archive)
    read = read_checkpoint(archive)
    for name, value in torch.jit.load(archive, map_location="cpu").state_dict().items():
        assert torch.equal(read[name], value), name
        assert read[name].dtype == value.dtype


@pytest.mark.filterwarnings("ignore")
def test_a_model_from_openais_archive_computes_what_the_model_computed(archive, base):
    loaded = load_backbone("small", str(archive))
    assert activation_of(loaded) == "QuickGELU"
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loaded.encode_image(images), base.encode_image(images), atol=2e-2)


def test_openais_state_dict_brings_quickgelu(tmp_path, base):
    state = base.model.state_dict() | {name: torch.tensor(value) for name, value in EXTRAS.items()}
    torch.save(state, tmp_path / "small.pt")
    loaded = load_backbone("small", str(tmp_path / "small.pt"))
    assert activation_of(loaded) == "QuickGELU"
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loaded.encode_image(images), base.encode_image(images), atol=1e-5)
    with pytest.raises(InputError, match="is OpenAI's, trained with QuickGELU"):
        load_backbone("small", str(tmp_path / "small.pt"), activation="gelu")


class Payload:
    """What a hostile file holds: unpickled, it makes a folder."""

    def __init__(self, mark) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "executed"
    torch.save({"visual.proj": torch.zeros(1), "more": Payload(mark)}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"evil\.pt' is not a weights-only checkpoint"):
        read_checkpoint(tmp_path / "evil.pt")
    assert not mark.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert mark.exists()  # so the payload is one that does run where it is let


@pytest.mark.filterwarnings("ignore")
def test_an_archive_with_code_in_its_table_is_refused_and_not_run(tmp_path, archive):
    mark, evil = tmp_path / "executed", tmp_path / "evil.pt"
    table = io.BytesIO()
    pickle.Pickler(table, 2).dump({"more": Payload(mark)})
    with zipfile.ZipFile(archive) as good, zipfile.ZipFile(evil, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, table.getvalue() if name.endswith("/data.pkl") else good.read(name))
    assert is_torchscript(evil)
    with pytest.raises(InputError, match=r"evil\.pt' is not a weights-only checkpoint"):
        read_checkpoint(evil)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore")
def test_the_code_of_an_archive_is_not_run(tmp_path):
    class Loud(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

        @torch.jit.export
        def __getstate__(self):
            return self.weight, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
            raise RuntimeError("the archive's code runs")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

    file = tmp_path / "loud.pt"
    torch.jit.save(torch.jit.script(Loud()), file)
    with pytest.raises(Exception, match="the archive's code runs"):
        torch.jit.load(file)
    with pytest.raises(InputError) as error:
        read_checkpoint(file)
    assert "the archive's code runs" not in str(error.value)


def test_rubbish_is_refused(tmp_path):
    (tmp_path / "rubbish.safetensors").write_bytes(b"not a tensor")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"epoch": 3}, tmp_path / "bare.pt")
    for name in ("rubbish.safetensors", "cut.pt", "empty.pt", "bare.pt"):
        with pytest.raises(InputError, match=name):
            read_checkpoint(tmp_path / name)


def test_a_file_of_transformers_is_named_as_such(tmp_path):
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(4)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"names its tensors as transformers does .*open_clip_model\.safetensors"):
        load_backbone("small", str(tmp_path / "model.safetensors"))


def test_a_foreign_checkpoint_says_what_differs(tmp_path, base):
    state = base.model.state_dict()
    state["visual.proj"] = torch.zeros(3, 4)
    del state["visual.ln_pre.weight"]
    state["extra"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError) as error:
        load_backbone("small-quickgelu", str(tmp_path / "w.safetensors"))
    text = str(error.value)
    assert "visual.proj (3, 4) instead of (64, 24)" in text
    assert "visual.ln_pre.weight" in text
    assert "extra" in text
    assert "\n" not in text


@pytest.fixture(scope="module")
def base32(tmp_path_factory):
    """Weights that say nothing about how they were trained, of an architecture in use with either activation."""
    file = tmp_path_factory.mktemp("b32") / "w.safetensors"
    save_file(load_backbone("ViT-B-32", "random").model.state_dict(), file)
    return file


@pytest.mark.slow
def test_a_file_that_cannot_tell_its_activation_is_asked_about(base32):
    with pytest.raises(InputError, match=r"w\.safetensors' does not say whether ViT-B-32 was trained with GELU"):
        load_backbone("ViT-B-32", str(base32))
    with pytest.raises(InputError, match=r"activation 'gelo' is unknown. Did you mean 'gelu'"):
        load_backbone("ViT-B-32", str(base32), activation="gelo")
    with pytest.raises(InputError, match=r"activation='gelu' goes with a checkpoint file without a tag"):
        load_backbone("ViT-B-32", f"openai={base32}", activation="gelu")
    for name, pretrained, given, expected in (
        ("ViT-B-32", str(base32), "gelu", "GELU"),
        ("ViT-B-32", str(base32), "quickgelu", "QuickGELU"),
        ("ViT-B-32-quickgelu", str(base32), None, "QuickGELU"),
        ("ViT-B-32", f"openai={base32}", None, "QuickGELU"),
        ("ViT-B-32-quickgelu", f"laion2b_s34b_b79k={base32}", None, "GELU"),
    ):
        assert activation_of(load_backbone(name, pretrained, activation=given)) == expected
