"""Models by the names that people write, and no random weights that nobody asked for."""

import huggingface_hub.constants
import open_clip
import pytest

from ovss.backbone import load_backbone, loading
from ovss.backbone.names import hub_names, resolve_name
from ovss.errors import InputError

PUBLISHED = {
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": ("ViT-B-16", "laion2b_s34b_b88k"),
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": ("ViT-bigG-14", "laion2b_s39b_b160k"),
    "apple/DFN2B-CLIP-ViT-L-14-39B": ("ViT-L-14", "dfn2b_s39b"),
    "openai/clip-vit-base-patch16": ("ViT-B-16", "openai"),
    "openai/clip-vit-large-patch14-336": ("ViT-L-14-336", "openai"),
    "google/siglip-base-patch16-256-multilingual": ("ViT-B-16-SigLIP-i18n-256", "webli"),
    "google/siglip2-base-patch16-224": ("ViT-B-16-SigLIP2", "webli"),
    "google/siglip2-so400m-patch14-384": ("ViT-SO400M-14-SigLIP2-378", "webli"),
    "google/siglip2-giant-opt-patch16-384": ("ViT-gopt-16-SigLIP2-384", "webli"),
    "facebook/PE-Core-B16-224": ("PE-Core-B-16", "meta"),
    "facebook/PE-Core-L14-336": ("PE-Core-L-14-336", "meta"),
    "facebook/PE-Core-G14-448": ("PE-Core-bigG-14-448", "meta"),
    "facebook/metaclip-h14-fullcc2.5b": ("ViT-H-14", "metaclip_fullcc"),
    "timm/ViT-SO400M-14-SigLIP-384": ("ViT-SO400M-14-SigLIP-384", "webli"),
    "timm/vit_base_patch16_plus_clip_240.laion400m_e31": ("ViT-B-16-plus-240", "laion400m_e31"),
    "jienengchen/ViTamin-L-336px": ("ViTamin-L-336", "datacomp1b"),
}
"""Repositories as their owners name them on the hub, and what they hold."""


@pytest.mark.parametrize("repository", PUBLISHED)
@pytest.mark.parametrize("written", ["{}", "hf-hub:{}"])
def test_repositories_of_the_hub_are_known_by_open_clips_name_and_tag(repository, written):
    assert resolve_name(written.format(repository)) == PUBLISHED[repository]


def test_every_name_that_a_repository_stands_for_exists_in_open_clip():
    assert len(hub_names()) > 130
    for name, tag in hub_names().values():
        assert name in open_clip.list_models()
        assert open_clip.get_pretrained_cfg(name, tag), (name, tag)


def test_every_tag_with_a_repository_of_its_own_is_found_by_it():
    listed = {}
    for name, tag in open_clip.list_pretrained():
        repository = open_clip.get_pretrained_cfg(name, tag)["hf_hub"]
        listed.setdefault(repository, set()).add((name.removesuffix("-quickgelu"), tag))
    for repository, entries in listed.items():
        assert resolve_name("/".join(repository.split("/")[:2])) in entries


@pytest.mark.parametrize(
    ("model", "resolved"),
    [
        ("tiny", "tiny"),
        ("ViT-B/16", "ViT-B-16"),
        ("somebody/a-clip", "hf-hub:somebody/a-clip"),
        ("hf-hub:somebody/a-clip", "hf-hub:somebody/a-clip"),
        ("local-dir:/data/a-clip", "local-dir:/data/a-clip"),
    ],
)
def test_other_names_are_completed(model, resolved):
    assert resolve_name(model) == (resolved, None)


def test_a_folder_with_a_configuration_is_a_model(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert resolve_name(str(tmp_path)) == (f"local-dir:{tmp_path}", None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("ViT-B/61", r"model 'ViT-B/61' is unknown\. Did you mean 'ViT-B-16'"),
        ("siglip2-vit-b-16", "'ovss list models' shows all|Did you mean"),
        ("qwertz", r"model 'qwertz' is unknown\. 'ovss list models' shows all\."),
        ("google/siglip2-base-patch16-naflex", r"not among those .* Did you mean 'google/siglip2-base-patch16"),
        ("facebook/PE-Spatial-G14-448", r"not among those .* Did you mean 'facebook/PE-Core-G14-448'"),
        (__file__, "is a file; give it as pretrained"),
    ],
)
def test_unknown_models_are_named_with_what_is_near(model, message):
    with pytest.raises(InputError, match=message):
        resolve_name(model)


def test_weights_beside_a_repository_are_its_own_or_refused(tmp_path):
    repository = "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"
    for given, weights in (
        ("laion2b_s34b_b88k", "laion2b_s34b_b88k"),
        ("random", "random"),
        ("w.safetensors", "laion2b_s34b_b88k=w.safetensors"),
        ("laion2b_s34b_b88k=w.pt", "laion2b_s34b_b88k=w.pt"),
    ):
        assert resolve_name(repository, given) == ("ViT-B-16", weights)
    with pytest.raises(InputError, match="is ViT-B-16 with the weights 'laion2b_s34b_b88k'; leave out"):
        resolve_name(repository, "openai")
    with pytest.raises(InputError, match="brings its own weights; leave out pretrained='openai'"):
        load_backbone("hf-hub:somebody/a-clip", "openai")


def test_an_architecture_without_weights_is_refused():
    with pytest.raises(InputError) as error:
        load_backbone("ViT-B-16")
    text = str(error.value)
    assert text.startswith("model 'ViT-B-16' needs weights: give pretrained a tag (openai, ")
    assert "'random'" in text
    with pytest.raises(InputError, match="needs weights"):
        load_backbone("ViT-B-16", "")


def test_random_weights_that_were_asked_for_are_seeded_and_marked(base):
    first, second, other = (load_backbone("small", "random", seed=seed) for seed in (0, 0, 1))
    assert first.weights_hash == second.weights_hash != other.weights_hash
    assert first.pretrained == "random"
    assert first.is_random
    assert not load_backbone("tiny").is_random
    assert load_backbone(**other.origin).weights_hash == other.weights_hash


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [("opanai", "Did you mean 'openai'"), ("missing/file.pt", "does not exist"), ("openai=no.pt", "does not exist")],
)
def test_wrong_weights_are_named(pretrained, message):
    with pytest.raises(InputError, match=message):
        load_backbone("ViT-B-32", pretrained)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        (
            "ViT-B-32",
            "laion2b_s34b_b79k",
            r"weights 'laion2b_s34b_b79k' of ViT-B-32 cannot be downloaded \(.+\); fetch open_clip_model\.safetensors "
            r"of laion/CLIP-ViT-B-32-laion2B-s34B-b79K on another .* pretrained='laion2b_s34b_b79k=/path/to/file'",
        ),
        (
            "somebody/a-clip",
            None,
            r"cannot be loaded \(.+\); fetch open_clip_config.json and open_clip_model.safetensors of somebody/a-clip "
            r"on another machine and give their folder: model='local-dir:/path/to/folder'$",
        ),
        (
            "laion/CLIP-ViT-B-16-laion2B-s34B",
            None,
            r"model='local-dir:/path/to/folder'\. Did you mean 'laion/CLIP-ViT-B-16-laion2B-s34B-b88K'\?$",
        ),
    ],
)
def test_without_a_network_one_line_says_what_to_fetch_and_how_to_give_it(monkeypatch, model, pretrained, message):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=message) as error:
        load_backbone(model, pretrained)
    assert "\n" not in str(error.value)


def test_a_tokenizer_of_the_hub_is_named_with_the_weights_that_need_it(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    name = "ViT-B-16-SigLIP2"
    webli = loading._Source("webli", open_clip.get_pretrained_cfg(name, "webli"), None)
    files = "open_clip_model.safetensors of timm/ViT-B-16-SigLIP2 on another machine, beside it tokenizer.json and"
    with pytest.raises(InputError, match=rf"{files} tokenizer_config.json of timm/ViT-B-16-SigLIP2, and give the file"):
        loading._download(name, webli, name)


def test_a_copy_of_a_repository_is_loaded_from_its_folder(base, tmp_path):
    import json

    from safetensors.torch import save_file

    preprocess = {"mean": [0.5] * 3, "std": 0.25, "interpolation": "bilinear"}
    config = {"model_cfg": open_clip.get_model_config("small-quickgelu"), "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(base.model.state_dict(), tmp_path / "open_clip_model.safetensors")
    loaded = load_backbone(str(tmp_path))
    assert loaded.weights_hash == base.weights_hash
    assert (loaded.mean, loaded.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert loaded.resize_filter == "pil-bilinear"
