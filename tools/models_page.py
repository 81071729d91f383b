"""The page docs/models.md, from the tables behind `ovss list models`: `python tools/models_page.py`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from ovss.cli.models import Model, known_models

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
HEAD = """# Models

Written by `tools/models_page.py` from the tables behind `ovss list models`; `ovss list models NAME` shows one model with
what its weights were trained on, and `ovss doctor --model NAME` checks how it is read.

`ovss` reads every plain vision transformer that open_clip can build: {taken} of its {all} configurations. The dense feature
of a patch is what the model would say about an image that consists of that patch alone, so towers with a class token, an
attention pool or an average differ in one function only. Which methods run on which tower, and why the others refuse, is in
[methods by image tower](methods_by_tower.md).

## How to give weights

| you have | you write |
|---|---|
| the internet | `--model ViT-B-16 --pretrained openai`: a tag of the tables below |
| the name of a repository | `--model google/siglip2-base-patch16-224`, `--model laion/CLIP-ViT-B-16-laion2B-s34B-b88K` (`hf-hub:` in front is optional); where open_clip has the same weights, its file of them is read |
| a file of a tag's weights | `--model ViT-B-16 --pretrained openai=/data/ViT-B-16.pt`: activation and pixel statistics follow the tag |
| a file of your own | `--model ViT-B-16 --pretrained run/epoch_9.pt --activation gelu`: a state dict (also under `state_dict` or `model`), `.safetensors`, or a TorchScript archive as OpenAI publishes them |
| a copy of a repository | `--model local-dir:/data/my-clip`, with `open_clip_config.json` and `open_clip_model.safetensors` in it |
| no weights yet | `--pretrained random`: to try the way; results are marked `random` and mean nothing |

Files are read without running anything from them: pickles with code are refused, the code of an archive is not opened. Files
in the naming of transformers are refused with the name of the file to take instead. Without `--pretrained` only `tiny` loads.

Where the internet cannot be reached, the error names the file to fetch. Tokenizers that come from the hub are read from the
folder of the checkpoint file, where `tokenizer.json` and `tokenizer_config.json` lie beside it.

Weights of CLIP come with two activations. A tag settles it, OpenAI's own files say it; for any other file of an architecture
that is in use with both, `--activation gelu` (LAION, DataComp) or `--activation quickgelu` (OpenAI, MetaCLIP, DFN) is asked for.
"""


def page() -> str:
    """The whole page."""
    models = known_models().values()
    taken = [model for model in models if not model.refused]
    parts = [HEAD.format(taken=len(taken), all=len(models))]
    for family in sorted({model.facts["family"] for model in taken}):
        parts.append(f"\n## {family}\n\n{_table(model for model in taken if model.facts['family'] == family)}")
    reasons: dict[str, list[str]] = {}
    for model in models:
        if model.refused:
            reasons.setdefault(model.refused, []).append(model.name)
    rows = "".join(f"| {reason} | {', '.join(names)} |\n" for reason, names in reasons.items())
    parts.append(f"\n## Not taken\n\n| it | models |\n|---|---|\n{rows}")
    return "".join(parts)


def _table(models: Iterable[Model]) -> str:
    head = "| model | patch | pixels | blocks | parameters | image embedding from | weights (trained on) |\n"
    rows = [head, "|---|---|---|---|---|---|---|\n"]
    for model in models:
        base = model.name.removesuffix("-quickgelu")
        weights = "; ".join(f"{item.tag} ({item.data})" for item in model.weights) or "none published"
        weights = weights if base == model.name else f"those of {base}"
        cells = (model.name, model.facts["patch"], model.size, model.facts["depth"], model.parameters, model.pooling)
        rows.append(f"| {' | '.join(cells)} | {weights} |\n")
    return "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)
