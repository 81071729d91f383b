"""Options that several commands share."""

import argparse
import sys

from ovss.backbone import Backbone, load_backbone

TINY_NOTE = (
    "note: 'tiny' was trained on drawn scenes only; on photographs its labels mean nothing. "
    "Give --model ViT-B-16 --pretrained openai (or a checkpoint file) for real CLIP."
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model."""
    parser.add_argument(
        "--model", default="tiny", help="'tiny', an open_clip architecture, or hf-hub:... (default: tiny)"
    )
    parser.add_argument("--pretrained", help="open_clip tag (openai, ...), checkpoint file, or TAG=FILE")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16, bfloat16 (default: auto)")


def backbone_from(arguments: argparse.Namespace) -> Backbone:
    """The model that the options of `add_model_arguments` name."""
    return load_backbone(arguments.model, arguments.pretrained, device=arguments.device, dtype=arguments.dtype)


def say(text: str) -> None:
    """A line for the person at the terminal, apart from results."""
    print(text, file=sys.stderr, flush=True)
