"""What a row says of its method: what it had beside the model, and what was set for its data set alone."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import ovss
from ovss.errors import InputError
from ovss.ledger import SUPPORT, load_published
from ovss.methods import create_method, list_methods, method_class
from ovss.methods.tuned import set_per_dataset, tuned_names, under_protocol

PROTOCOLS = Path(ovss.__file__).parent / "protocols"


@pytest.mark.parametrize(
    ("protocol", "dataset", "expected"),
    [
        ("study", "scenes", ()),
        ("study", "voc21", ()),  # one threshold for every data set with a background
        ("window224", "cityscapes", ("short_side",)),
        ("scclip", "coco_object", ("logit_scale", "threshold")),
        ("scclip", "voc20", ()),
        ("naclip", "voc20", ("window", "stride")),
        ("tcl", "context60", ()),
        ("cliptrase-224", "voc20", ("class_prior",)),
    ],
)
def test_settings_of_one_data_set_are_named(protocol, dataset, expected):
    assert set_per_dataset(ovss.load_protocol(protocol).for_dataset(dataset)) == expected


def test_an_architecture_may_have_settings_of_its_own():
    large = ovss.load_protocol("scclip").for_dataset("voc21", "ViT-L-14")
    assert (large.logit_scale, ovss.load_protocol("scclip").for_dataset("voc20", "ViT-L-14").logit_scale) == (40, 40)
    assert set_per_dataset(large) == ("threshold", "area_rule")


def test_what_a_user_sets_for_all_data_sets_is_set_for_none():
    assert set_per_dataset(ovss.load_protocol("scclip", threshold=0.2).for_dataset("voc21")) == (
        "logit_scale",
        "area_rule",
    )
    changed = replace(ovss.load_protocol("naclip").for_dataset("voc20"), window=224, stride=56)
    assert set_per_dataset(changed) == ()


def test_hyperparameters_of_one_data_set_are_those_whose_value_differs_in_the_file():
    tables = tomllib.loads((PROTOCOLS / "resclip.toml").read_text())["datasets"]
    values = {name: table["methods"]["resclip"] for name, table in tables.items()}
    differing = {key for key in values["voc20"] if len({each[key] for each in values.values()}) > 1}
    assert "tau" not in differing
    for dataset in values:
        protocol = ovss.load_protocol("resclip").for_dataset(dataset)
        method = under_protocol(create_method("resclip"), protocol)
        assert set(tuned_names(method, protocol)) == differing
    own = under_protocol(create_method("resclip", lam=0.9), ovss.load_protocol("resclip").for_dataset("voc20"))
    assert "lam" not in tuned_names(own, ovss.load_protocol("resclip").for_dataset("voc20"))
    pearl = ovss.load_protocol("pearl").for_dataset("ade150")
    assert tuned_names(under_protocol(create_method("pearl"), pearl), pearl) == ("alpha",)


def test_every_method_says_its_support_and_the_ledger_says_the_same():
    published = load_published()
    for name in list_methods():
        word = method_class(name).paper.support
        assert word in SUPPORT, name
        rows = published[published["method"] == name]
        assert set(rows["support"]) <= {word}, name


def test_another_word_for_the_support_is_refused():
    with pytest.raises(InputError, match=r"support 'TF-FS' of paper 'T' is unknown. Did you mean 'TF-SF'\?"):
        ovss.Paper(title="T", authors="", venue="", arxiv="", support="TF-FS")
