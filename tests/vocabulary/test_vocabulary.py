"""Vocabularies: the circulating lists word for word, users' own words, and embeddings computed once."""

import json
import multiprocessing
import warnings
from concurrent.futures import ThreadPoolExecutor

import open_clip
import pytest
import torch
from paths import shared_path

from ovss.backbone import Backbone
from ovss.cli import main
from ovss.errors import InputError
from ovss.vocabulary import Vocabulary, embed_vocabulary, load_vocabulary
from ovss.vocabulary.embedding import _cached
from ovss.vocabulary.tables import list_variants, list_vocabularies
from ovss.vocabulary.templates import TEMPLATE_SETS

BENCHMARKS = {
    "voc21": 21,
    "voc20": 20,
    "context60": 60,
    "context59": 59,
    "context459": 459,
    "coco_stuff171": 171,
    "coco_object": 81,
    "ade150": 150,
    "ade847": 847,
    "cityscapes": 19,
}
WITH_BACKGROUND = {"voc21", "context60", "coco_object", "scenes-objects"}


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


@pytest.mark.parametrize("dataset", BENCHMARKS)
def test_every_variant_has_the_data_sets_classes_in_one_index_space(dataset):
    for variant in list_variants(dataset):
        vocabulary = load_vocabulary(dataset, variant)
        assert len(vocabulary.classes) == BENCHMARKS[dataset]
        assert vocabulary.background == (0 if dataset in WITH_BACKGROUND else None)
        assert list(vocabulary.query_class) == sorted(vocabulary.query_class)


def test_words_are_those_of_the_specification_letter_by_letter():
    specified = json.loads(shared_path("spec", "vocabularies.json").read_text())
    for dataset, variants in specified.items():
        for variant, table in variants.items():
            expected = [tuple(words) for words in table["classes"]]
            if "background" in table:
                expected.insert(0, tuple(table["background"]))
            assert load_vocabulary(dataset, variant).words == tuple(expected), (dataset, variant)


def test_the_list_of_sclip_spells_background_as_26_words_and_a_person_as_seven():
    vocabulary = load_vocabulary("voc21")
    assert vocabulary.variant == "sclip"
    assert len(vocabulary.words[0]) == 26
    assert vocabulary.words[0][:3] == ("sky", "wall", "tree")
    assert len(vocabulary.words[15]) == 7
    assert vocabulary.classes[:5] == ("background", "aeroplane", "bicycle", "bird", "ship")


@pytest.mark.parametrize("dataset", [*BENCHMARKS, "scenes", "scenes-objects", "scenes-large"])
def test_plain_has_one_ordinary_name_per_class(dataset):
    vocabulary = load_vocabulary(dataset, "plain")
    foreground = [words for number, words in enumerate(vocabulary.words) if number != vocabulary.background]
    assert all(len(words) == 1 and "," not in words[0] for words in foreground)
    assert "tvmonitor" not in vocabulary.queries


def test_plain_writes_compounds_as_two_words():
    assert {"tv monitor", "dining table", "potted plant", "boat"} <= set(load_vocabulary("voc20", "plain").queries)


def test_the_constant_background_of_tcl_has_no_words():
    vocabulary = load_vocabulary("voc21", "tcl")
    assert vocabulary.words[0] == ()
    assert vocabulary.classes[0] == "background"
    assert load_vocabulary("voc21").without_background_words().words[0] == ()


def test_tcl_keeps_ten_names_glued_as_the_benchmarks_spell_them():
    glued = {"diningtable", "pottedplant", "tvmonitor"}
    found = {name: glued & set(load_vocabulary(name, "tcl").queries) for name in ("voc20", "voc21")}
    found |= {name: glued & set(load_vocabulary(name, "tcl").queries) for name in ("context59", "context60")}
    assert sum(map(len, found.values())) == 10
    specified = json.loads(shared_path("spec", "vocabularies.json").read_text())
    context = tuple(tuple(words) for words in specified["context59"]["sclip"]["classes"])
    assert load_vocabulary("context59", "tcl").words == context
    assert load_vocabulary("context60", "tcl").words == ((), *context)
    voc = [words[0] for words in specified["voc20"]["cliptrase"]["classes"][:-1]]
    assert load_vocabulary("voc20", "tcl").queries == (*voc, "tvmonitor")
    assert load_vocabulary("voc21", "tcl").queries == (*voc, "tvmonitor")


def test_variants_that_do_not_exist_fall_back_only_where_the_list_says_so():
    assert load_vocabulary("ade150", "clearclip").words == load_vocabulary("ade150", "sclip").words
    assert load_vocabulary("voc21", "clearclip").words != load_vocabulary("voc21", "sclip").words
    with pytest.raises(InputError, match=r"'cityscapes' has no vocabulary variant 'cliptrase'"):
        load_vocabulary("cityscapes", "cliptrase")


def test_scenes_know_synonyms_and_their_stuff_is_the_background_of_the_objects():
    assert load_vocabulary("scenes").words[0] == ("ladybird", "ladybug")
    assert load_vocabulary("scenes", "plain").words[0] == ("ladybird",)
    objects = load_vocabulary("scenes-objects")
    assert {"grass", "sand", "beach"} <= set(objects.words[0])
    assert "beach" not in load_vocabulary("scenes-objects", "plain").words[0]


def test_a_string_of_words_becomes_classes_synonyms_and_background():
    vocabulary = load_vocabulary("cat; sofa, couch; background: wall, floor")
    assert vocabulary.classes == ("background", "cat", "sofa")
    assert vocabulary.words == (("wall", "floor"), ("cat",), ("sofa", "couch"))
    assert vocabulary.query_class == (0, 0, 1, 2, 2)
    assert vocabulary.background == 0


@pytest.mark.parametrize(
    "words",
    [
        ["cat", ["sofa", "couch"]],
        (("cat",), ("sofa", "couch")),
        "cat;sofa,couch",
        " cat ; sofa , couch ; ",
    ],
)
def test_lists_and_strings_mean_the_same(words):
    vocabulary = load_vocabulary(words)
    assert vocabulary.words == (("cat",), ("sofa", "couch"))
    assert vocabulary.background is None


def test_words_in_lists_are_taken_as_they_are():
    odd = ["<b>cat</b> & co", "building, edifice", "Käse {}"]
    assert load_vocabulary(odd).queries == tuple(odd)


def test_a_class_called_background_stays_where_it_stands():
    vocabulary = load_vocabulary(["cat", "background", "dog"])
    assert vocabulary.background == 1
    assert vocabulary.classes == ("cat", "background", "dog")


def test_background_words_may_come_separately():
    assert load_vocabulary("cat", background="wall, floor").words == (("wall", "floor"), ("cat",))
    assert load_vocabulary(["cat"], background=["wall"]).background == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.toml", 'background = ["wall", "floor"]\nclasses = ["cat", ["sofa", "couch"]]'),
        ("mine.json", '{"background": ["wall", "floor"], "classes": ["cat", ["sofa", "couch"]]}'),
        ("mine.txt", "background: wall, floor\ncat\n\nsofa, couch\n"),
    ],
)
def test_class_files_in_three_formats_mean_the_same(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    for given in (path, str(path)):
        vocabulary = load_vocabulary(given)
        assert vocabulary.words == (("wall", "floor"), ("cat",), ("sofa", "couch"))
        assert vocabulary.name == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "has no words"),
        ([], "has no words"),
        (" ; ", "empty word"),
        ("cat;;dog", "empty word"),
        ("cat, ;dog", "empty word"),
        (["cat", ""], "empty word"),
        ("background:", "empty word"),
        ([["cat"], []], "class without words"),
        ("cat; dog; cat", "names class 'cat' twice"),
        ("background: wall; background: floor; cat", "more than one background"),
        (["background", "cat", "background: wall"], "more than one background"),
        (["cat", 3], "must be a word or a list of words, not 3"),
        ("voc22", r"no data set 'voc22'. Did you mean 'voc21'\? As a class, write 'voc22;'"),
    ],
)
def test_words_that_make_no_vocabulary_are_refused(words, message):
    with pytest.raises(InputError, match=message) as caught:
        load_vocabulary(words)
    assert "\n" not in str(caught.value)


def test_a_word_that_looks_like_a_data_set_is_a_class_when_said_so():
    assert load_vocabulary("voc22;").classes == ("voc22",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "cat\ndog; cow\n", "a.txt', line 2: ';' separates no words"),
        ("a.txt", "cat\tdog\n", "line 1: '\\\\t' separates no words"),
        ("a.toml", "classes = [", "a.toml' is malformed"),
        ("a.json", "{", "a.json' is malformed"),
        ("a.json", '{"names": []}', "must hold a list called 'classes'"),
        ("a.toml", 'classes = ["cat"]\nbackgroud = ["wall"]', r"unknown key 'backgroud'. Did you mean 'background'\?"),
        ("a.toml", 'classes = ["cat", "background"]\nbackground = ["wall"]', "more than one background"),
    ],
)
def test_malformed_class_files_are_refused_by_name(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_vocabulary(path)
    with pytest.raises(InputError, match=r"nowhere.txt' cannot be read"):
        load_vocabulary(tmp_path / "nowhere.txt")


def test_unknown_variants_are_refused_with_a_suggestion():
    with pytest.raises(InputError, match=r"no vocabulary variant 'slcip'. Did you mean 'sclip'\?"):
        load_vocabulary("voc21", "slcip")


def test_the_hash_covers_words_order_background_and_templates():
    base = load_vocabulary("cat; sofa, couch")
    others = [
        load_vocabulary("cat; sofa"),
        load_vocabulary("sofa, couch; cat"),
        load_vocabulary("cat; couch, sofa"),
        load_vocabulary("cat, sofa; couch"),
        base.with_templates(["a {}."]),
        load_vocabulary("background: cat; sofa, couch"),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 7
    assert base.hash == load_vocabulary([["cat"], ["sofa", "couch"]]).hash
    assert base.templates == TEMPLATE_SETS["openai"]


def test_a_vocabulary_whose_parts_disagree_is_refused():
    with pytest.raises(InputError, match="query_class"):
        Vocabulary(classes=("a",), queries=("a", "b"), query_class=(0,))
    with pytest.raises(InputError, match=r"class 'b' has no words"):
        Vocabulary(classes=("a", "b"), queries=("a",), query_class=(0,))
    with pytest.raises(InputError, match=r"each contain one {}"):
        load_vocabulary("cat").with_templates(["no hole"])


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
    alone = [embed_vocabulary(backbone, load_vocabulary([word]))[0] for word in words]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=0)


def test_a_vocabulary_is_embedded_once_per_weights_words_and_templates(backbone, cache, monkeypatch):
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
    assert len(list(cache.glob("*.safetensors"))) == 3


def test_a_word_that_occurs_twice_is_embedded_once_and_has_two_rows(backbone, cache, monkeypatch):
    counting = Counting(backbone, monkeypatch)
    vocabulary = load_vocabulary("background: bed, wall; bed; cat").with_templates(["a {}."])
    rows = embed_vocabulary(backbone, vocabulary)
    assert len(counting.texts) == 3
    assert torch.equal(rows[0], rows[2])
    assert rows.shape[0] == 4


@pytest.mark.parametrize("damage", [b"", b"not a tensor file", None])
def test_a_damaged_cache_entry_is_computed_again_and_replaced(backbone, cache, damage):
    vocabulary = load_vocabulary("cat; dog").with_templates(["a {}."])
    good = embed_vocabulary(backbone, vocabulary)
    (entry,) = cache.glob("*.safetensors")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert torch.equal(embed_vocabulary(backbone, vocabulary), good)
    assert entry.read_bytes() == whole


def test_no_flip_of_a_bit_and_no_cut_of_a_cache_entry_is_used(backbone, cache):
    vocabulary = load_vocabulary("cat; dog").with_templates(["a {}."])
    good = embed_vocabulary(backbone, vocabulary)
    (entry,) = cache.glob("*.safetensors")
    whole = entry.read_bytes()
    flips = [(position, 1 << position % 8) for position in range(len(whole))]
    for position, bit in flips:
        entry.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        assert _cached(entry, tuple(good.shape)) is None, f"bit {bit} of byte {position} flipped"
    for size in range(len(whole)):
        entry.write_bytes(whole[:size])
        assert _cached(entry, tuple(good.shape)) is None, f"cut to {size} bytes"
    for position, bit in flips[:: len(flips) // 20]:
        entry.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        assert torch.equal(embed_vocabulary(backbone, vocabulary), good)
        assert entry.read_bytes() == whole


def test_an_entry_under_the_name_of_another_one_is_computed_again(backbone, cache):
    first, second = (load_vocabulary(words).with_templates(["a {}."]) for words in ("cat; dog", "cow; pig"))
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
    assert len(list(cache.glob("*.safetensors"))) == 3


def test_an_entry_of_another_shape_is_not_trusted(backbone, cache):
    from safetensors.torch import save_file

    vocabulary = load_vocabulary("cat; dog").with_templates(["a {}."])
    good = embed_vocabulary(backbone, vocabulary)
    (entry,) = cache.glob("*.safetensors")
    save_file({"rows": torch.zeros(5, 16)}, entry)
    assert torch.equal(embed_vocabulary(backbone, vocabulary), good)


def test_threads_that_embed_at_the_same_time_leave_one_whole_entry(backbone, cache):
    vocabulary = load_vocabulary("cat; dog; cow").with_templates(["a {}."])
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: embed_vocabulary(backbone, vocabulary), range(8)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-6, rtol=0)
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def _embed_in_a_process(seed: int) -> list[list[float]]:
    torch.set_num_threads(1)
    return embed_vocabulary(small_backbone(seed), load_vocabulary("cat; dog; cow").with_templates(["a {}."])).tolist()


@pytest.mark.slow
def test_processes_that_embed_at_the_same_time_agree_and_leave_one_whole_entry(cache):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(_embed_in_a_process, [0, 0], chunksize=1)
    for result in results[1:]:
        torch.testing.assert_close(torch.tensor(result), torch.tensor(results[0]), atol=1e-6, rtol=0)
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


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


def test_the_command_lists_data_sets_variants_and_words(capsys):
    assert main(["vocabularies"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in list_vocabularies())
    assert main(["vocabularies", "voc21"]) == 0
    assert load_vocabulary("voc21", "cliptrase").hash[:12] in capsys.readouterr().out
    assert main(["vocabularies", "voc21", "--variant", "sclip"]) == 0
    shown = capsys.readouterr().out
    assert "person in skirt" in shown
    assert "56 words" in shown
    assert main(["vocabularies", "cat; sofa, couch"]) == 0
    assert "sofa; couch" in capsys.readouterr().out
