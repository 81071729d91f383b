"""Which method runs on which family of image towers: docs/methods_by_tower.md.

    python tools/method_matrix.py

Every method runs with its defaults on a small random tower of each family (those of the tests); where it refuses, the
table gives its reason.
"""

import sys
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "methods_by_tower.md"
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
COLUMNS = {
    "class_token": "CLIP",
    "clipa": "CLIPA",
    "coca": "CoCa",
    "vit_map": "SigLIP, SigLIP 2",
    "vit_stem": "MobileCLIP-B",
    "vit_average": "ViTamin",
    "eva": "EVA-01",
    "eva02": "EVA-02",
    "eva02_post_norm": "EVA-02-E",
    "pe_core": "PE-Core T to L",
    "pe_core_without_cls": "PE-Core bigG",
}
"""Small tower of the tests, and what it stands for."""
GIVEN = {"registers": {"neurons": ((2, 3),)}, "rfclip": {"channels": (1, 5, 14)}}
"""Parameters without which a method runs on weights of OpenAI only."""


@torch.inference_mode()
def refusal(name: str, family: str) -> str:
    """Why a method does not run on a family; empty where it runs.

    Raises:
        Exception: Whatever goes wrong otherwise.
    """
    from small_towers import small_tower

    from ovss.errors import InputError
    from ovss.methods import create_method

    backbone = small_tower(family)
    method = create_method(name, **GIVEN.get(name, {}))
    images = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    tokens = backbone.encode_tokens(images, layers=method.layers(backbone.depth))
    text = torch.eye(3, backbone.embed_dim)
    try:
        scores = method.patch_scores(tokens, text)
        method.class_scores(tokens, text)
        refined = method.refine_scores(torch.nn.functional.interpolate(scores, size=(64, 80)), tokens)
    except InputError as error:
        return str(error).replace(f"'{family}'", "the model").replace(family, "the model")
    if not (scores.isfinite().all() and refined.isfinite().all()):
        raise ValueError(f"{name} on {family} gives scores that are not finite")
    return ""


def page() -> str:
    """The page, as Markdown."""
    from ovss.methods import list_methods

    reasons: list[str] = []
    rows = []
    for name in list_methods():
        cells = []
        for family in COLUMNS:
            reason = refusal(name, family)
            if reason and reason not in reasons:
                reasons.append(reason)
            cells.append(f"no ({reasons.index(reason) + 1})" if reason else "yes")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    given = "; ".join(f"{name} with {', '.join(parameters)} given" for name, parameters in GIVEN.items())
    lines = [
        "# Methods by image tower",
        "",
        f"Written by `tools/method_matrix.py`; methods with their defaults ({given}).",
        "",
        f"| method | {' | '.join(COLUMNS.values())} |",
        f"|---|{'---|' * len(COLUMNS)}",
        *rows,
        "",
        *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
