"""Published weights of every configuration of open_clip, with what they were trained on: ovss/backbone/weights.csv.

    python tools/list_weights.py

`ovss list models` and the page docs/models.md read this table, so that listing needs no model library. Names, tags,
repositories, activations and filters are open_clip's; the training data behind a tag is written here, from the tag's
own words.
"""

import csv
import sys
from pathlib import Path

TABLE = Path(__file__).resolve().parents[1] / "ovss" / "backbone" / "weights.csv"
COLUMNS = ("model", "tag", "data", "activation", "resize_filter", "repositories")
DATA = {
    "openai": "OpenAI's 400M pairs (WIT)",
    "mscoco_finetuned_laion2b": "LAION-2B, then COCO captions",
    "laion400m": "LAION-400M",
    "laion_aesthetic": "LAION-Aesthetic",
    "laion2b": "LAION-2B",
    "laion5b": "LAION-5B",
    "frozen_laion5b": "LAION-5B, text tower frozen",
    "merged2b": "Merged-2B (LAION-2B and COYO)",
    "datacomp_xl": "DataComp-1B",
    "datacomp_s34b": "DataComp-1B",
    "datacomp1b": "DataComp-1B",
    "datacomp_l": "DataComp large",
    "datacomp_m": "DataComp medium",
    "datacomp_s_": "DataComp small",
    "datacomp_s13m": "DataComp small",
    "datacompdr": "DataCompDR-1B",
    "dfndr2b": "DFNDR-2B",
    "dfn2b": "DFN-2B",
    "dfn5b": "DFN-5B",
    "commonpool_xl": "CommonPool xlarge",
    "commonpool_l": "CommonPool large",
    "commonpool_m": "CommonPool medium",
    "commonpool_s": "CommonPool small",
    "metaclip_400m": "MetaCLIP-400M",
    "metaclip_fullcc": "MetaCLIP-2.5B",
    "metaclip_altogether": "MetaCLIP, Altogether captions",
    "metaclip2_worldwide": "MetaCLIP 2 worldwide",
    "webli": "WebLI",
    "meta": "Perception Encoder's images and videos",
    "yfcc15m": "YFCC-15M",
    "cc12m": "CC-12M",
    "v1": "LAION-COCO-NLLB",
    "mrl": "LAION-COCO-NLLB",
}
"""Training data by the beginning of a tag; the longest beginning counts."""


def main() -> int:
    """Write the table."""
    import open_clip

    from ovss.backbone.names import hub_names
    from ovss.backbone.preparation import own_resize_filter

    repositories: dict[tuple[str, str], list[str]] = {}
    for repository, entry in hub_names().items():
        repositories.setdefault(entry, []).append(repository)
    rows = []
    for name, tag in open_clip.list_pretrained():
        base = name.removesuffix("-quickgelu")
        if name != base and tag in open_clip.list_pretrained_tags_by_model(base):
            continue
        settings = open_clip.get_pretrained_cfg(name, tag)
        beginning = max((word for word in DATA if tag.startswith(word)), key=len)
        activation = "QuickGELU" if settings.get("quick_gelu") else "GELU"
        resized = own_resize_filter(settings.get("interpolation"), name)
        rows.append((name, tag, DATA[beginning], activation, resized, " ".join(repositories.get((name, tag), ()))))
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
