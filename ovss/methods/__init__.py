"""Every method, by name: `create_method("naclip", sigma=3.0)`.

A module of this folder is imported because it is there, and what it registers is a method from then on.
"""

from importlib import import_module
from pkgutil import iter_modules

from ovss.methods.base import Method, Paper
from ovss.methods.registry import create_method, default_methods, list_methods, method_class, resolve_methods

for _name in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_name}")

__all__ = ["Method", "Paper", "create_method", "default_methods", "list_methods", "method_class", "resolve_methods"]
