"""Rounding of another processor, imitated: with this folder on PYTHONPATH models of ovss get noise in their weights.

`OVSS_WEIGHT_NOISE` is its size relative to each weight, `OVSS_WEIGHT_NOISE_SEED` its seed. The hash of weights stays
as it was without noise. Python imports this file by its name at every start, in kernels of notebooks, too.
"""

import importlib.abc
import importlib.machinery
import os
import sys

TARGET = "ovss.backbone.backbone"


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the module as everybody does, and adds noise to the models of its class once it is there."""

    def find_spec(self, name, path=None, target=None):
        if name != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                _add_noise(module)

            spec.loader.exec_module = exec_module
        return spec


def _add_noise(module):
    import torch

    size = float(os.environ["OVSS_WEIGHT_NOISE"])
    seed = int(os.environ.get("OVSS_WEIGHT_NOISE_SEED", "0"))
    original = module.Backbone.__init__

    def noisy(self, model, **options):
        options["weights_hash"] = options.get("weights_hash") or module.hash_weights(model.state_dict())
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                noise = torch.randn(weight.shape, generator=generator).to(weight.device, weight.dtype)
                weight.mul_(1 + size * noise)
        original(self, model, **options)

    module.Backbone.__init__ = noisy


if os.environ.get("OVSS_WEIGHT_NOISE"):
    sys.meta_path.insert(0, _Finder())
