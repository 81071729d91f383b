"""Facts and conformance of every configuration of open_clip, with random weights: ovss/backbone/models.csv.

    python tools/check_towers.py                     all configurations, small ones first
    python tools/check_towers.py NAME ...            some of them; the other rows stay as they are
    python tools/check_towers.py --facts             sizes only, without computing with the towers
    python tools/check_towers.py --largest 700       towers above so many million parameters are cut

Only the image tower is built, one at a time, in float32; a large one in a process of its own that ends with its memory.
A tower that is too large is cut to its first blocks (the table says how many were checked), because what is checked is
the same in every block. Weights are drawn so that no part is without effect; see `ovss.backbone.conform.shake`.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parents[1] / "ovss" / "backbone" / "models.csv"
FACTS = ("model", "family", "refused", "patch", "height", "width", "depth", "parameters", "pooling", "class_token")
CHECK = ("blocks_checked", "pooled", "one_hot")
CUT = 4
OWN_PROCESS = 150e6
BAR = 1e-5


def facts(name: str) -> dict[str, str]:
    """Row of a configuration, without its check."""
    from ovss.backbone.catalogue import measure_model

    found = measure_model(name)
    values = (name, found.family, found.refused, found.patch_size, *found.native_size, found.depth, found.parameters)
    return dict(zip(FACTS, map(str, (*values, found.pooling, "yes" if found.class_token else "no")), strict=True))


def cut_tower(name: str) -> Any:
    """A model with the first blocks of its image tower only, which is never held as a whole."""
    import torch

    from ovss.backbone.image_only import build_image_tower

    model = build_image_tower(name, "meta")
    if hasattr(model.visual, "trunk"):
        model.visual.trunk.blocks = model.visual.trunk.blocks[:CUT]
    else:
        model.visual.transformer.resblocks = model.visual.transformer.resblocks[:CUT]
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for values in (*model.parameters(), *model.buffers()):
            values.fill_(1)
    for module in model.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()
    return model


def check(name: str, cut: bool) -> dict[str, str]:
    """Errors of a configuration, on one image of the native size."""
    import torch

    from ovss.backbone import Backbone, conformance
    from ovss.backbone.conform import shake
    from ovss.backbone.image_only import build_image_tower

    model = cut_tower(name) if cut else build_image_tower(name)
    shake(model)
    backbone = Backbone(model, name=name, pretrained="random", tokenizer=None, mean=(0, 0, 0), std=(1, 1, 1))
    image = torch.randn(1, 3, *backbone.native_size, generator=torch.Generator().manual_seed(0))
    errors = {key: f"{error:.1e}" for key, error in conformance(backbone, image).items()}
    return {"blocks_checked": str(backbone.depth), **errors}


def in_own_process(name: str) -> dict[str, str]:
    """The same of a whole tower, in a process that ends with its memory."""
    done = subprocess.run([sys.executable, __file__, name, "--child"], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"blocks_checked": "", "pooled": done.stderr.strip().splitlines()[-1], "one_hot": ""}
    return json.loads(done.stdout.strip().splitlines()[-1])


def write(rows: dict[str, dict[str, str]], order: Iterable[str]) -> None:
    """Replace the table."""
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, (*FACTS, *CHECK), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in order if name in rows)


def main() -> int:
    """Write the table, row by row, and say which configurations do not conform."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--facts", action="store_true")
    parser.add_argument("--largest", type=float, default=700, help="million parameters; above, the tower is cut")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(check(arguments.names[0], cut=False)))
        return 0
    import open_clip

    order = open_clip.list_models()
    rows = {}
    if TABLE.exists():
        with TABLE.open(encoding="utf-8", newline="") as file:
            rows = {row["model"]: row for row in csv.DictReader(file)}
    names = arguments.names or order
    for name in names:
        rows[name] = dict.fromkeys(CHECK, "") | rows.get(name, {}) | facts(name)
    write(rows, order)
    wrong = []
    taken = [name for name in names if not rows[name]["refused"] and not arguments.facts]
    for name in sorted(taken, key=lambda name: int(rows[name]["parameters"])):
        started = time.perf_counter()
        parameters = int(rows[name]["parameters"])
        cut = parameters > arguments.largest * 1e6
        rows[name] |= check(name, cut) if cut or parameters < OWN_PROCESS else in_own_process(name)
        write(rows, order)
        print(name, *(rows[name][column] for column in CHECK), f"{time.perf_counter() - started:.0f} s", flush=True)
        if not rows[name]["one_hot"] or max(float(rows[name][column]) for column in CHECK[1:]) > BAR:
            wrong.append(name)
    print(f"{len(taken) - len(wrong)} of {len(taken)} conform", *wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
