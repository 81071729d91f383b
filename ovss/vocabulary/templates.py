"""Prompt templates as data, so that reading a protocol needs no model library."""

import json
from pathlib import Path

__all__ = ["OPENAI", "TEMPLATE_SETS"]

OPENAI: tuple[str, ...] = tuple(
    json.loads((Path(__file__).parent / "templates.json").read_text(encoding="utf-8"))["openai"]
)
"""The 80 sentences that OpenAI published for ImageNet, with {} for the class name, in their order."""

TEMPLATE_SETS = {"openai": OPENAI}
"""Sets of templates by the name that a protocol calls them."""
