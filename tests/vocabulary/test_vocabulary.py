"""Vocabularies: the circulating lists word for word, and users' own words."""

import json

import pytest
from paths import shared_path

from ovss.cli import main
from ovss.errors import InputError
from ovss.vocabulary import Vocabulary, load_vocabulary
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
        ("a.toml", "classes = [", "a.toml' is not valid TOML"),
        ("a.json", "{", "a.json' is not valid JSON"),
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
