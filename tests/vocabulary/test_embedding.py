"""Embeddings of words: computed once, kept in a cache whose damage does not pass unseen."""

import multiprocessing
import warnings
from concurrent.futures import ThreadPoolExecutor

import open_clip
import pytest
import torch

from ovss.backbone import Backbone
from ovss.errors import InputError
from ovss.vocabulary import embed_vocabulary, load_vocabulary
from ovss.vocabulary.embedding import _cached
from ovss.vocabulary.templates import TEMPLATE_SETS


def small_backbone(seed: int = 0) -> Backbone:
    """A CLIP of a few thousand weights with the standard tokenizer; its text tower works like any other."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(
        16,
        {"image_size": 16, "patch_size": 8, "layers": 1, "width": 16, "head_width": 8},
        {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )
    return Backbone(
        model,
        name="small",
        pretrained=f"seed {seed}",
        tokenizer=open_clip.get_tokenizer("ViT-B-32"),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return small_backbone()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path))
    return tmp_path / "text"


class Counting:
    """Counts the texts that a backbone embeds."""

    def __init__(self, backbone, monkeypatch):
        self.texts = []
        original = backbone.encode_text
        monkeypatch.setattr(backbone, "encode_text", lambda texts: self.texts.extend(texts) or original(texts))


def test_embeddings_are_the_normalised_mean_of_normalised_templates(backbone, cache):
    vocabulary = load_vocabulary("cat; sofa, couch").with_templates(["a {}.", "the {}, here", "{}"])
    rows = embed_vocabulary(backbone, vocabulary)
    for query, row in zip(vocabulary.queries, rows, strict=True):
        parts = [backbone.encode_text([template.replace("{}", query)])[0] for template in vocabulary.templates]
        mean = torch.stack([part / part.norm() for part in parts]).mean(0)
        torch.testing.assert_close(row, mean / mean.norm(), atol=1e-5, rtol=0)
    assert rows.shape == (3, 16)
    assert rows.dtype == torch.float32


def test_embeddings_do_not_depend_on_how_words_fall_into_batches(backbone, cache):
    words = [f"thing {number}" for number in range(9)]
    together = embed_vocabulary(backbone, load_vocabulary(words))
    for entry in cache.iterdir():
        entry.unlink()
    alone = [embed_vocabulary(backbone, load_vocabulary([word]))[0] for word in reversed(words)]
    assert torch.equal(together, torch.stack(alone[::-1]))


def test_a_word_is_embedded_once_per_weights_and_templates(backbone, cache, monkeypatch):
    counting = Counting(backbone, monkeypatch)
    vocabulary = load_vocabulary("cat; sofa, couch").with_templates(["a {}."])
    first = embed_vocabulary(backbone, vocabulary)
    assert len(counting.texts) == 3
    assert torch.equal(embed_vocabulary(backbone, vocabulary), first)
    assert len(counting.texts) == 3
    embed_vocabulary(backbone, vocabulary.with_templates(["the {}."]))
    assert len(counting.texts) == 6
    other = embed_vocabulary(small_backbone(seed=1), vocabulary)
    assert not torch.allclose(other, first)
    assert len(list(cache.glob("*.safetensors"))) == 9
    longer = embed_vocabulary(backbone, load_vocabulary("dog; couch; cat; sofa").with_templates(["a {}."]))
    assert counting.texts[6:] == ["a dog."]
    assert torch.equal(longer[1:], first[[2, 0, 1]])


def test_a_killed_embedding_goes_on_with_the_words_that_are_left(backbone, cache, monkeypatch):
    vocabulary = load_vocabulary("cat; dog; cow").with_templates(["a {}."])
    original = backbone.encode_text

    def interrupted(texts):
        if texts == ["a cow."]:
            raise KeyboardInterrupt
        return original(texts)

    with monkeypatch.context() as patch:
        patch.setattr(backbone, "encode_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embed_vocabulary(backbone, vocabulary)
    counting = Counting(backbone, monkeypatch)
    embed_vocabulary(backbone, vocabulary)
    assert counting.texts == ["a cow."]


def test_a_word_that_occurs_twice_is_embedded_once_and_has_two_rows(backbone, cache, monkeypatch):
    counting = Counting(backbone, monkeypatch)
    vocabulary = load_vocabulary("background: bed, wall; bed; cat").with_templates(["a {}."])
    rows = embed_vocabulary(backbone, vocabulary)
    assert len(counting.texts) == 3
    assert torch.equal(rows[0], rows[2])
    assert rows.shape[0] == 4


@pytest.mark.parametrize("damage", [b"", b"not a tensor file", None])
def test_a_damaged_cache_entry_is_computed_again_and_replaced(backbone, cache, damage):
    vocabulary = load_vocabulary("cat").with_templates(["a {}."])
    good = embed_vocabulary(backbone, vocabulary)
    (entry,) = cache.glob("*.safetensors")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert torch.equal(embed_vocabulary(backbone, vocabulary), good)
    assert entry.read_bytes() == whole


def test_no_flip_of_a_bit_and_no_cut_of_a_cache_entry_is_used(backbone, cache):
    vocabulary = load_vocabulary("cat").with_templates(["a {}."])
    good = embed_vocabulary(backbone, vocabulary)
    (entry,) = cache.glob("*.safetensors")
    whole = entry.read_bytes()
    flips = [(position, 1 << position % 8) for position in range(len(whole))]
    for position, bit in flips:
        entry.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        assert _cached(entry, 16) is None, f"bit {bit} of byte {position} flipped"
    for size in range(len(whole)):
        entry.write_bytes(whole[:size])
        assert _cached(entry, 16) is None, f"cut to {size} bytes"
    for position, bit in flips[:: len(flips) // 20]:
        entry.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        assert torch.equal(embed_vocabulary(backbone, vocabulary), good)
        assert entry.read_bytes() == whole


def test_an_entry_under_the_name_of_another_one_is_computed_again(backbone, cache):
    first, second = (load_vocabulary(words).with_templates(["a {}."]) for words in ("cat", "cow"))
    good = embed_vocabulary(backbone, first)
    (entry,) = cache.glob("*.safetensors")
    embed_vocabulary(backbone, second)
    (other,) = set(cache.glob("*.safetensors")) - {entry}
    entry.write_bytes(other.read_bytes())
    assert torch.equal(embed_vocabulary(backbone, first), good)


def test_models_that_differ_in_weights_or_number_format_alone_share_no_entry(cache):
    vocabulary = load_vocabulary("cat; dog").with_templates(["a {}."])
    models = [small_backbone(0), small_backbone(1), small_backbone(0)]
    models[1].pretrained = models[0].pretrained
    models[2].weights_hash = models[0].weights_hash
    models[2].model.bfloat16()
    rows = [embed_vocabulary(model, vocabulary) for model in models]
    assert not torch.allclose(rows[0], rows[1], atol=0.01)
    assert not torch.equal(rows[0], rows[2])
    assert len(list(cache.glob("*.safetensors"))) == 6


def test_an_entry_of_another_shape_is_not_trusted(backbone, cache):
    from safetensors.torch import save_file

    vocabulary = load_vocabulary("cat").with_templates(["a {}."])
    good = embed_vocabulary(backbone, vocabulary)
    (entry,) = cache.glob("*.safetensors")
    save_file({"row": torch.zeros(5)}, entry)
    assert torch.equal(embed_vocabulary(backbone, vocabulary), good)


def test_threads_that_embed_at_the_same_time_leave_whole_entries(backbone, cache):
    vocabulary = load_vocabulary("cat; dog; cow").with_templates(["a {}."])
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: embed_vocabulary(backbone, vocabulary), range(8)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-6, rtol=0)
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"] * 3


def _embed_in_a_process(seed: int) -> list[list[float]]:
    torch.set_num_threads(1)
    return embed_vocabulary(small_backbone(seed), load_vocabulary("cat; dog; cow").with_templates(["a {}."])).tolist()


@pytest.mark.slow
def test_processes_that_embed_at_the_same_time_agree_and_leave_whole_entries(cache):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(_embed_in_a_process, [0, 0], chunksize=1)
    for result in results[1:]:
        torch.testing.assert_close(torch.tensor(result), torch.tensor(results[0]), atol=1e-6, rtol=0)
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"] * 3


def test_a_cache_that_cannot_be_written_says_how_to_move_it(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path))
    (tmp_path / "text").write_text("in the way")
    with pytest.raises(InputError, match=r"text cache '.*text' cannot be written .*; set OVSS_CACHE"):
        embed_vocabulary(backbone, load_vocabulary("cat").with_templates(["a {}."]))


def test_progress_goes_to_the_error_stream_and_only_when_asked(backbone, cache, capsys):
    embed_vocabulary(backbone, load_vocabulary("cat").with_templates(["a {}."]))
    assert capsys.readouterr().err == ""
    embed_vocabulary(backbone, load_vocabulary("cow").with_templates(["a {}."]), progress=True)
    captured = capsys.readouterr()
    assert "text embeddings" in captured.err
    assert captured.out == ""


def test_words_that_the_model_never_saw_are_named_in_a_warning(cache):
    backbone = small_backbone()
    backbone.name = "tiny"
    with torch.no_grad():
        backbone.model.token_embedding.weight[backbone.tokenizer.encode("zebra")] = 0
    with pytest.warns(UserWarning, match="zebra"):
        embed_vocabulary(backbone, load_vocabulary("cat; zebra").with_templates(["a {}."]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed_vocabulary(backbone, load_vocabulary("cat; horse").with_templates(["a {}."]))


def test_847_classes_with_80_templates_fit_the_context_of_clip():
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    longest = max(load_vocabulary("ade847").queries, key=lambda query: len(tokenizer.encode(query)))
    lengths = [len(tokenizer.encode(text.replace("{}", longest))) + 2 for text in TEMPLATE_SETS["openai"]]
    assert max(lengths) <= 77
