"""Protocols: the published numbers, overrides, hashes, geometry, and refusals that name file and key."""

import subprocess
import sys
from dataclasses import dataclass, replace

import open_clip
import pytest

from ovss import backbone
from ovss.cli import main
from ovss.cli.protocols import details, overview
from ovss.errors import InputError
from ovss.methods import create_method
from ovss.methods.tuned import under_protocol
from ovss.protocols import Geometry, default_protocol, list_protocols, load_protocol
from ovss.protocols.schema import POSITION_RULES
from ovss.vocabulary.tables import list_vocabularies
from ovss.vocabulary.templates import TEMPLATE_SETS


@dataclass
class Model:
    name: str = "ViT-B-16"
    image_size: int = 224
    patch_size: int = 16
    is_tiny: bool = False


FILTER = "opencv-bilinear"
B16, L14, B32 = Model(), Model("ViT-L-14", 224, 14), Model("ViT-B-32", 224, 32)
L336, TINY = Model("ViT-L-14-336", 336, 14), Model("tiny", 64, 8, True)

MINIMAL = """
short_side = 336
resize_filter = "bilinear"
templates = "openai"
variant = "sclip"
logit_scale = 40
"""


def written(folder, text, name="mine.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_all_documented_protocols_are_shipped():
    documented = {"window224", "sclip", "naclip", "naclip-v1", "naclip+pamr", "scclip", "clearclip", "resclip"}
    documented |= {"clip_surgery", "tcl", "tcl+pamr", "cliptrase-224", "cliptrase-336", "study", "pearl"}
    assert documented <= set(list_protocols())


@pytest.mark.parametrize(
    ("name", "dataset", "expected"),
    [
        ("window224", "voc20", {"short_side": 336, "window": 224, "stride": 112, "logit_scale": 40}),
        ("window224", "voc20", {"background": "none"}),
        ("window224", "voc21", {"background": "threshold", "threshold": 0.1, "area_rule": None}),
        ("window224", "context60", {"background": "threshold", "threshold": 0.1}),
        ("window224", "coco_object", {"background": "threshold", "threshold": 0.1}),
        ("window224", "cityscapes", {"short_side": 560, "window": 224, "max_long_side": 2048}),
        ("sclip", "voc21", {"logit_scale": 65, "threshold": 0.1, "area_rule": 0.1, "short_side": 336}),
        ("sclip", "context60", {"logit_scale": 50, "threshold": 0.1, "area_rule": None}),
        ("sclip", "coco_object", {"logit_scale": 50, "threshold": 0.1}),
        ("sclip", "coco_stuff171", {"logit_scale": 40, "short_side": 448, "window": 224}),
        ("naclip", "voc21", {"window": None, "stride": None, "pamr_iterations": 0, "threshold": 0.1}),
        ("naclip", "context59", {"window": 224, "stride": 112}),
        ("naclip-v1", "voc21", {"window": 224, "stride": 112, "threshold": 0.1}),
        ("resclip", "voc20", {"window": None, "stride": None, "logit_scale": 40}),
        ("naclip+pamr", "voc21", {"window": None, "stride": None, "pamr_iterations": 10, "threshold": 0.1}),
        ("naclip+pamr", "voc20", {"window": None, "pamr_dilations": (8, 16)}),
        ("naclip+pamr", "ade150", {"window": 224, "pamr_iterations": 10}),
        ("naclip+pamr", "cityscapes", {"short_side": 560, "window": 224}),
        ("pearl", "voc21", {"window": None, "threshold": 0.1, "logit_scale": 40, "tlp_iterations": 25, "tlp_grid": 80}),
        ("pearl", "cityscapes", {"short_side": 560, "window": 224, "stride": 112, "tlp_grid": 224}),
        ("pearl", "ade150", {"tlp_grid": 80, "methods": {"pearl": {"alpha": 0.3}}, "pamr_iterations": 0}),
        ("naclip", "voc21", {"tlp_iterations": 0}),
        ("scclip", "voc21", {"logit_scale": 50, "threshold": 0.15, "area_rule": 0.1}),
        ("scclip", "context60", {"logit_scale": 40, "threshold": 0.15, "area_rule": None}),
        ("scclip", "coco_object", {"logit_scale": 55, "threshold": 0.35}),
        ("clearclip", "voc21", {"short_side": 448, "window": 448, "stride": 224, "logit_scale": 50, "threshold": 0.5}),
        ("clearclip", "context60", {"threshold": 0.15, "variant": "clearclip"}),
        ("clearclip", "coco_object", {"threshold": 0.4}),
        ("clearclip", "cityscapes", {"short_side": 448, "window": 224, "stride": 224}),
        ("tcl", "voc21", {"background": "channel", "threshold": 0.5, "short_side": 448, "stride": 224}),
        ("tcl+pamr", "coco_object", {"background": "channel", "threshold": 0.4, "pamr_iterations": 10}),
        ("tcl+pamr", "voc20", {"background": "none", "pamr_dilations": (1, 2, 4, 8, 12, 24), "pamr_cells": 4}),
        ("cliptrase-224", "voc21", {"crop": 224, "window": None, "background": "queries", "class_prior": False}),
        ("cliptrase-224", "voc20", {"class_prior": True, "logit_scale": 100, "metric": "cliptrase"}),
        ("cliptrase-336", "ade150", {"crop": 336, "short_side": 336, "resize_filter": "pil-bicubic"}),
        ("study", "voc21", {"relative": True, "short_side": 1.5, "window": 1, "stride": 0.5, "threshold": 0.1}),
        ("study", "cityscapes", {"short_side": 2.5, "background": "none"}),
    ],
)
def test_a_protocol_says_what_was_published(name, dataset, expected):
    protocol = load_protocol(name).for_dataset(dataset)
    assert {key: getattr(protocol, key) for key in expected} == expected


def test_templates_are_the_eighty_of_openai_or_the_nine_of_tcl():
    assert len(load_protocol("window224").templates) == 80
    assert load_protocol("window224").templates[0] == "a bad photo of a {}."
    assert len(load_protocol("clip_surgery").templates) == 85
    assert set(load_protocol("sclip").templates) < set(load_protocol("clip_surgery").templates)
    tcl = load_protocol("tcl").templates
    assert len(tcl) == 9
    assert {"itap of a {}.", "a origami {}.", "a photo of many {}.", "a photo of {}s."} <= set(tcl)


def test_scclip_has_its_own_values_for_the_large_model():
    protocol = load_protocol("scclip")
    large = protocol.for_dataset("voc21", "ViT-L/14")
    assert (large.logit_scale, large.threshold, large.area_rule) == (40, 0.2, 0.1)
    assert protocol.for_dataset("coco_object", "ViT-L-14-quickgelu").threshold == 0.25
    assert protocol.for_dataset("voc21", "ViT-B-16").logit_scale == 50


def test_a_callers_override_wins_over_every_table():
    protocol = load_protocol("scclip", threshold=0.3, logit_scale=10).for_dataset("voc21", "ViT-L-14")
    assert (protocol.threshold, protocol.logit_scale) == (0.3, 10)


def test_an_override_that_repeats_the_general_value_still_wins_over_a_table():
    assert load_protocol("window224", short_side=336).for_dataset("cityscapes").short_side == 336


def test_replacing_a_field_survives_the_choice_of_a_data_set():
    changed = replace(load_protocol("window224"), threshold=0.7)
    assert changed.for_dataset("voc21").threshold == 0.7
    assert changed.for_dataset("voc21").logit_scale == 40


def test_resolving_for_another_data_set_starts_from_the_protocol_again():
    protocol = load_protocol("scclip")
    assert protocol.for_dataset("voc21").for_dataset("ade150") == protocol.for_dataset("ade150")


def test_the_hash_follows_the_content():
    protocol = load_protocol("window224")
    assert protocol.hash == load_protocol("window224").hash
    assert len(protocol.hash) == 64
    assert protocol.hash != load_protocol("window224", threshold=0.2).hash
    assert protocol.hash != load_protocol("scclip").hash
    assert protocol.for_dataset("voc20").hash == load_protocol("scclip").for_dataset("voc20").hash
    assert protocol.for_dataset("voc21").hash != load_protocol("scclip").for_dataset("voc21").hash
    assert load_protocol("window224", logit_scale=40.0).hash == load_protocol("window224", logit_scale=40).hash


def test_a_change_in_any_data_set_changes_the_hash(tmp_path):
    one = load_protocol(written(tmp_path, MINIMAL, "one.toml"))
    same = load_protocol(written(tmp_path, MINIMAL, "same.toml"))
    other = load_protocol(written(tmp_path, MINIMAL + "[datasets.voc21]\nlogit_scale = 41", "other.toml"))
    assert one.hash == same.hash != other.hash
    assert one.for_dataset("voc20").hash == other.for_dataset("voc20").hash


@pytest.mark.parametrize(
    ("model", "dataset", "expected"),
    [
        (B16, "voc20", Geometry(336, 2048, None, 224, 112, FILTER)),
        (L14, "voc20", Geometry(336, 2048, None, 224, 112, FILTER)),
        (B32, "voc20", Geometry(336, 2048, None, 224, 112, FILTER)),
        (TINY, "scenes", Geometry(96, 2048, None, 64, 32, FILTER)),
        (L336, "voc20", Geometry(504, 2048, None, 336, 168, FILTER)),
        (B16, "cityscapes", Geometry(560, 2048, None, 224, 112, FILTER)),
        (TINY, "cityscapes", Geometry(160, 2048, None, 64, 32, FILTER)),
    ],
)
def test_study_follows_the_models_native_size(model, dataset, expected):
    assert load_protocol("study").for_dataset(dataset).geometry(model) == expected


def test_relative_windows_are_whole_patches():
    geometry = load_protocol("study", window=0.7).geometry(B32)
    assert geometry.window == 160
    assert geometry.window % 32 == 0


@pytest.mark.parametrize("name", [name for name in list_protocols() if name != "study"])
def test_pixel_protocols_refuse_the_embedded_model_and_name_study(name):
    with pytest.raises(InputError, match=r"makes no sense for tiny, made for 64.*'study'"):
        load_protocol(name).for_dataset("voc21").geometry(TINY)


@pytest.mark.parametrize("name", list_protocols())
@pytest.mark.parametrize("dataset", ["voc21", "voc20", "cityscapes", "ade847"])
def test_every_protocol_fits_the_models_of_the_papers(name, dataset):
    for model in (B16, L14, B32, L336):
        geometry = load_protocol(name).for_dataset(dataset, model.name).geometry(model)
        assert geometry.window is None or geometry.stride is not None


def test_the_default_is_study_for_the_embedded_model_only():
    assert default_protocol(TINY) == "study"
    assert default_protocol(B16) == "window224"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "windo = 3", r"mine.toml': unknown key 'windo'. Did you mean 'window'\?"),
        (MINIMAL.replace("336", "-1"), "mine.toml': short_side = -1 must be a number above 0"),
        (MINIMAL.replace("336", '"336"'), "mine.toml': short_side = '336' must be a number above 0"),
        (MINIMAL.replace("336", "true"), "short_side = True must be a number above 0"),
        (MINIMAL.replace("336", "336.5"), "short_side = 336.5 must be whole pixels, or relative = true"),
        (MINIMAL.replace("336", "nan"), "short_side = nan must be"),
        (
            MINIMAL.replace("bilinear", "bicubic"),
            "resize_filter = 'bicubic' must be one of opencv-bilinear, bilinear, pil-bicubic, pil-bilinear, model",
        ),
        (MINIMAL.replace('"openai"', '["no hole"]'), "templates = .* must be .*each with one {}"),
        (MINIMAL.replace('variant = "sclip"', ""), "mine.toml': key 'variant' is missing"),
        (MINIMAL + "[datasets.voc21]\nthreshold = 2", r"\[datasets.voc21\]: threshold = 2 must be .* at most 1"),
        (
            MINIMAL + "[datasets.voc22]\nthreshold = 0.1",
            r"\[datasets.voc22\]: no such data set. Did you mean 'voc21'\?",
        ),
        (
            MINIMAL + '[datasets.voc21]\nbackground = "threshold"',
            "on voc21: background = 'threshold' needs a threshold",
        ),
        (MINIMAL + '[models."ViT-L-14"]\nlogit_scal = 1', r"\[models.ViT-L-14\]: unknown key 'logit_scal'"),
        (MINIMAL + "window = 224", "window and stride must both be numbers"),
        (MINIMAL + "window = 224\nstride = 225", "stride = 225 must be at most window = 224"),
        (MINIMAL + "max_long_side = 300", "max_long_side = 300 must be at least short_side = 336"),
        (MINIMAL + "crop = 400", "crop = 400 must be at most short_side = 336"),
        (MINIMAL + "pamr_iterations = 3", "pamr_iterations = 3 needs pamr_dilations"),
        (MINIMAL + "tlp_iterations = 25", "tlp_iterations = 25 needs tlp_grid"),
        (MINIMAL + "tlp_grid = 2.5", "tlp_grid = 2.5 must be a whole number of cells"),
        (MINIMAL + "pamr_iterations = 1.5", "pamr_iterations = 1.5 must be a whole number"),
        (MINIMAL + "class_prior = 1", "class_prior = 1 must be true or false"),
        (MINIMAL + "methods = 3", "methods = 3 must be a table for each method"),
        (MINIMAL + "[methods]\nresclip = 3", "methods = .* must be a table for each method"),
        (MINIMAL + "datasets = 3", r"\[datasets\] must be a table, not 3"),
        ("short_side = ", "mine.toml' is not valid TOML"),
        ('extends = "sclp"', r"protocol 'sclp' is unknown. Did you mean 'sclip'\?"),
        ('extends = "mine.toml"', "extends itself"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_key(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_protocol(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_unknown_names_and_overrides_are_refused_with_a_suggestion(tmp_path):
    with pytest.raises(InputError, match=r"protocol 'slcip' is unknown. Did you mean 'sclip'\?"):
        load_protocol("slcip")
    with pytest.raises(InputError, match=r"unknown key 'treshold'. Did you mean 'threshold'\?"):
        load_protocol("window224", treshold=0.1)
    with pytest.raises(InputError, match=r"protocol file '.*nowhere.toml' does not exist"):
        load_protocol(tmp_path / "nowhere.toml")


def test_a_protocol_gives_a_method_the_values_its_authors_tuned_and_leaves_what_a_user_set():
    protocol = load_protocol("resclip").for_dataset("voc20")
    assert under_protocol(create_method("resclip"), protocol).parameters["lam"] == 0.6
    assert under_protocol(create_method("resclip", lam=0.9), protocol).parameters["lam"] == 0.9
    naclip = create_method("naclip")
    assert under_protocol(naclip, protocol) is naclip
    assert protocol.hash != load_protocol("naclip").for_dataset("voc20").hash


def test_parameters_that_a_method_has_not_are_refused_naming_protocol_and_method(tmp_path):
    protocol = load_protocol(written(tmp_path, MINIMAL + "[methods.resclip]\nlan = 0.3"))
    with pytest.raises(InputError, match=r"protocol 'mine' on voc20, methods: .*'resclip' has no parameter 'lan'"):
        under_protocol(create_method("resclip"), protocol.for_dataset("voc20"))
    protocol = load_protocol(written(tmp_path, MINIMAL + "[methods.resclip]\nlam = 3"))
    with pytest.raises(InputError, match=r"protocol 'mine' on voc20, methods: .*lam=3"):
        under_protocol(create_method("resclip"), protocol.for_dataset("voc20"))


@pytest.mark.parametrize("name", list_protocols())
def test_every_shipped_value_of_a_method_can_be_used(name):
    protocol = load_protocol(name)
    for dataset in [*list_vocabularies(), "folder"]:
        resolved = protocol.for_dataset(dataset)
        for method, values in resolved.methods.items():
            changed = under_protocol(create_method(method), resolved).parameters
            assert changed == create_method(method).parameters | values


def test_a_users_file_extends_a_shipped_one_or_a_file_beside_it(tmp_path):
    written(tmp_path, 'extends = "scclip"\nstride = 56\n[datasets.voc21]\nthreshold = 0.9', "base.toml")
    protocol = load_protocol(written(tmp_path, 'extends = "base.toml"\nlogit_scale = "model"'))
    resolved = protocol.for_dataset("voc21")
    assert (protocol.stride, protocol.logit_scale, resolved.threshold, resolved.area_rule) == (56, None, 0.9, 0.1)
    assert resolved.logit_scale == 50
    assert protocol.name == "mine"


def test_the_command_shows_list_and_one_protocol(capsys):
    assert main(["protocols"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in list_protocols())
    assert main(["protocols", "scclip", "--dataset", "voc21"]) == 0
    shown = capsys.readouterr().out
    assert load_protocol("scclip").for_dataset("voc21").hash in shown
    assert "area_rule         0.1" in shown


def test_the_list_shows_relative_sizes_and_the_details_all_overrides():
    assert "1.5x" in overview([load_protocol("study")])
    assert "ViT-L-14 on voc21" in details(load_protocol("scclip"))


def test_templates_and_position_rules_are_those_of_the_libraries_they_come_from():
    assert tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES) == TEMPLATE_SETS["openai"]
    assert backbone.POSITION_RULES == POSITION_RULES


def test_every_protocol_can_be_read_without_a_model_library():
    code = """
import sys
from ovss.cli import main
from ovss.protocols import list_protocols, load_protocol
for name in list_protocols():
    load_protocol(name).for_dataset("scenes-objects").hash
assert main(["protocols"]) == 0
print("loaded:", [name for name in ("torch", "open_clip", "torchvision", "scipy", "pandas") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "loaded: []"


def test_the_reading_of_scores_is_part_of_a_protocol_and_softmax_changes_no_hash():
    plain = load_protocol("window224")
    assert plain.reading == "softmax"
    assert load_protocol("window224", reading="softmax").hash == plain.hash
    sigmoid = load_protocol("window224", reading="sigmoid", logit_scale="model")
    assert sigmoid.reading == "sigmoid"
    assert sigmoid.hash != load_protocol("window224", logit_scale="model").hash
    with pytest.raises(InputError, match=r'reading = "sigmoid" needs logit_scale = "model"'):
        load_protocol("window224", reading="sigmoid")
    with pytest.raises(InputError, match="reading = 'tanh' must be one of softmax, sigmoid"):
        load_protocol("window224", reading="tanh")
