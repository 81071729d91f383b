"""Random models and a small data set for the tests of this room."""

import json

import open_clip
import pytest
from evaluation_helpers import checkpoint, data, folder

from ovss.backbone import Backbone, load_backbone

__all__ = ["checkpoint", "data", "folder"]

SMALL = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 64, "head_width": 16, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A small architecture that a user registered with open_clip, with QuickGELU; "small" is the same with GELU."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in {"small-quickgelu": SMALL, "small": SMALL | {"quick_gelu": False}}.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    return load_backbone("small-quickgelu", "random")
