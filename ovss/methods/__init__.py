"""Every method, by name: `create_method("naclip", sigma=3.0)`.

A module of this folder is imported because it is there, and what it registers is a method from then on. Installed
packages add theirs by entry points, files by `load_plugin`.

Words used here:
    tokens: One backbone pass, see `ovss.backbone`.
    mix: Values of the last block under the attention of the method.
    stream: Tokens after the changed last block, before the read-out.
    residual, ffn: Parts of the last block that a method keeps or drops.
    regions: Pixels of a window that get one name (CLIPtrase).
"""

from importlib import import_module
from pkgutil import iter_modules

from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.plugins import load_installed, load_plugin
from ovss.methods.registry import create_method, default_methods, list_methods, method_class, register, resolve_methods

for _name in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_name}")
load_installed()

__all__ = [
    "Method",
    "Paper",
    "create_method",
    "default_methods",
    "list_methods",
    "load_plugin",
    "method_class",
    "parameter",
    "register",
    "resolve_methods",
]
