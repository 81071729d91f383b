"""Models side by side: which methods a model takes, and tables over models with what they were trained on."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from ovss.backbone import Backbone, describe_model
from ovss.backbone.catalogue import training_data
from ovss.errors import InputError
from ovss.methods import resolve_methods

__all__ = ["coherence_table", "model_table", "split_by_refusal"]

_UNTRAINED = "none: random weights"
"""What stands for training data where there was no training."""


@torch.inference_mode()
def split_by_refusal(backbone: Backbone, methods: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Methods that a model takes, and the others with their reason.

    Each is tried on one image of noise of the native size.

    Args:
        backbone: The model.
        methods: Method labels.
    """
    image = torch.randn(1, 3, *backbone.native_size, generator=torch.Generator().manual_seed(0))
    tokens = backbone.encode_tokens(image)
    taken, refused = [], {}
    for label, method in resolve_methods(list(methods)).items():
        try:
            method.patch_embeddings(tokens)
            taken.append(label)
        except InputError as error:
            refused[label] = str(error)
    return taken, refused


def model_table(results: pd.DataFrame) -> pd.DataFrame:
    """One row per model, data set and protocol: what the model is, and the mIoU of each method.

    Args:
        results: Tables `results` of `22_benchmark_table` of several models, one after the other.

    Returns:
        Columns model, pretrained, trained_on, family, parameters_m (millions, of the image tower), pooling, dataset,
        protocol, images, then one per method; a method that the model refuses has no value.
    """
    keys = ["model", "pretrained", "dataset", "protocol", "images"]
    order = list(dict.fromkeys(results["method"]))
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in results.to_dict("records"):
        rows.setdefault(tuple(row[key] for key in keys), {key: row[key] for key in keys})[row["method"]] = row["mIoU"]
    table = pd.DataFrame(list(rows.values()), columns=[*keys, *order])
    return _with_facts(table, ["dataset", "protocol", "images", *order])


def coherence_table(measurements: pd.DataFrame) -> pd.DataFrame:
    """Where the hidden states of each model are most coherent, against the last one.

    Args:
        measurements: Tables `measurements` of `21_attention_measurements` of several models.

    Returns:
        The columns of a model as in `model_table`, then dataset, class_token, depth, best_state, best_auc, last_auc and
        gain (best over last, in points of AUC).
    """
    auc = measurements[measurements["measure"] == "coherence_auc"]
    rows = []
    groups: Any = auc.groupby(["model", "pretrained", "dataset"], sort=False)
    for (model, pretrained, dataset), states in groups:
        means = dict(zip(states["layer"], states["mean"], strict=True))
        best, depth = max(means, key=lambda layer: means[layer]), max(means)
        row = {"model": model, "pretrained": pretrained, "dataset": dataset, "depth": depth, "best_state": best}
        row |= {"best_auc": means[best], "last_auc": means[depth], "gain": 100 * (means[best] - means[depth])}
        row["class_token"] = "yes" if describe_model(model).class_token else "no"
        rows.append(row)
    columns = ["dataset", "class_token", "depth", "best_state", "best_auc", "last_auc", "gain"]
    return _with_facts(pd.DataFrame(rows).round(4), columns)


def _with_facts(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    facts = [describe_model(name) for name in frame["model"]]
    weights = zip(frame["model"], frame["pretrained"], strict=True)
    trained = [_UNTRAINED if tag == "random" else training_data(name, tag) for name, tag in weights]
    known: Any = frame.assign(
        trained_on=trained,
        family=[fact.family for fact in facts],
        parameters_m=[round(fact.parameters / 1e6, 1) for fact in facts],
        pooling=[fact.pooling for fact in facts],
    )
    return known[["model", "pretrained", "trained_on", "family", "parameters_m", "pooling", *columns]]
