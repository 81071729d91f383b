"""Every method, by name: `create_method("naclip", sigma=3.0)`."""

# The order of these imports is the order in which methods are listed: baselines, then the four papers, then `compose`.
# isort: off
from ovss.methods.base import Method, Paper
from ovss.methods.registry import create_method, list_methods, method_class
from ovss.methods.clip import Clip
from ovss.methods.maskclip import MaskClip
from ovss.methods.clip_surgery import ClipSurgery
from ovss.methods.sclip import Sclip
from ovss.methods.gem import Gem
from ovss.methods.clearclip import ClearClip
from ovss.methods.resclip import ResClip
from ovss.methods.naclip import NaClip
from ovss.methods.cliptrase import ClipTrase
from ovss.methods.scclip import ScClip
from ovss.methods.clipseg_aaai25 import ClipSegAaai25
from ovss.methods.compose import Compose
# isort: on

__all__ = [
    "ClearClip",
    "Clip",
    "ClipSegAaai25",
    "ClipSurgery",
    "ClipTrase",
    "Compose",
    "Gem",
    "MaskClip",
    "Method",
    "NaClip",
    "Paper",
    "ResClip",
    "ScClip",
    "Sclip",
    "create_method",
    "list_methods",
    "method_class",
]
