"""The page of `ovss app`: an image, words and methods in, label maps side by side out."""

import re
import tempfile
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from ovss.backbone import Backbone
from ovss.errors import InputError
from ovss.figures.images import shrink
from ovss.images import load_image
from ovss.images.colours import class_colours
from ovss.images.png import data_address
from ovss.methods import default_methods, resolve_methods
from ovss.protocols import Protocol
from ovss.scenes.scenes import CLASSES, scene
from ovss.segment import Segmentation, index_mask
from ovss.segment.several import SeveralSegmenters
from ovss.vocabulary.tables import list_vocabularies

_DEFAULT_METHODS = ("clip", "maskclip", "naclip")
_MAX_UPLOAD_BYTES = 32 * 2**20
"""Largest image file in bytes that the page takes."""
_EXAMPLE = 10
_STYLE = """<style>
.ovss-app { max-width: 1200px; margin: 0 auto; padding: 0 16px 32px; width: 100%; }
.ovss-app { box-sizing: border-box; overflow: visible; }
.ovss-app h1 { font-size: 26px; margin: 16px 0 8px; }
.ovss-app p, .ovss-app .widget-html-content { font-size: 15px; line-height: 1.45; white-space: normal; }
.ovss-app p, .ovss-app .widget-html-content { color: #1b1b1b; }
.ovss-app .widget-html, .ovss-app .widget-html-content { height: auto; max-width: 100%; overflow-wrap: anywhere; }
.ovss-app .widget-text, .ovss-app .widget-select-multiple { width: 100%; max-width: 640px; }
.ovss-app .widget-label { color: #1b1b1b; font-size: 15px; }
.ovss-app .jupyter-button { width: auto; min-width: 150px; align-self: flex-start; overflow: visible; }
.ovss-app .jupyter-button { background: #fff; border: 1px solid #767676; border-radius: 4px; color: #1b1b1b; }
.ovss-app .jupyter-button.mod-primary { background: #0b4fb3; border-color: #0b4fb3; color: #fff; }
.ovss-app :focus-visible { outline: 3px solid #0b57d0; outline-offset: 2px; }
.ovss-app .ovss-grid { display: grid; gap: 20px; }
.ovss-app .ovss-grid { grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr)); }
.ovss-app figure { margin: 0; min-width: 0; }
.ovss-app figure img { width: 100%; height: auto; display: block; border-radius: 4px; }
.ovss-app figcaption { padding-top: 6px; }
.ovss-app figure ul { list-style: none; padding: 0; margin: 4px 0; display: flex; flex-wrap: wrap; gap: 2px 14px; }
.ovss-app a { white-space: nowrap; color: #0b4fb3; text-decoration: underline; }
.ovss-app li i { display: inline-block; width: 12px; height: 12px; border: 1px solid #555; margin-right: 5px; }
</style>"""


def segment_all(
    backbone: Backbone,
    image: Image.Image,
    words: str,
    methods: Sequence[str],
    protocol: str | Protocol | None = None,
) -> list[Segmentation]:
    """One image under several methods, all from one backbone pass.

    Args:
        backbone: The model.
        image: Any image.
        words: As in "cat; sofa, couch; background: wall, floor", or a data set's name; never read as a file's name.
        methods: Names of methods.
        protocol: As in `Segmenter`.

    Returns:
        A segmentation per method, labels (H, W) each, in the order of `methods`.

    Raises:
        InputError: No method, words that cannot be used, an image that is too small.
    """
    if not methods:
        raise InputError("choose at least one method")
    if not words.strip():
        raise InputError("type at least one word, as in 'cat; sofa, couch; background: wall, floor'")
    if words.strip() not in list_vocabularies() and not words.rstrip().endswith(";"):
        words += ";"
    chosen = resolve_methods(list(methods))
    return SeveralSegmenters(backbone, chosen, words, protocol=protocol)(image)


def read_upload(name: str, content: bytes) -> Image.Image:
    """An uploaded PNG or JPEG as 8-bit RGB.

    Raises:
        InputError: Damaged, of another kind, or too large; the message names the file.
    """
    if len(content) > _MAX_UPLOAD_BYTES:
        raise InputError(
            f"'{name}' has {len(content) / 2**20:.0f} MiB; the page takes {_MAX_UPLOAD_BYTES // 2**20} MiB"
        )
    if not content.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        raise InputError(f"'{name}' is not a PNG or JPEG image")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(content)
        try:
            return load_image(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error


def safe_stem(name: str) -> str:
    """A file name's stem of plain letters, digits, '-' and '_', at most 60 of them."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:60] or "image"


class Playground:
    """State and widgets of the page; `view` shows it.

    Args:
        backbone: The model.
        protocol: Name or file; None as in `Segmenter`.
    """

    def __init__(self, backbone: Backbone, protocol: str | None = None) -> None:
        self.backbone, self.protocol = backbone, protocol
        drawn = scene("test", _EXAMPLE)
        self.image, self.name = Image.fromarray(drawn.image), "example.png"
        names = default_methods()
        self.upload = widgets.FileUpload(accept=".png,.jpg,.jpeg", multiple=False, description="Choose an image")
        words = "; ".join(CLASSES[number] for number in np.unique(drawn.mask))
        # Sent when the field is left: letter by letter, a busy kernel gets the click on Run before the last ones.
        self.words = widgets.Text(words, description="Words", continuous_update=False)
        self.methods = widgets.SelectMultiple(
            options=names, value=_DEFAULT_METHODS, rows=len(names), description="Methods"
        )
        self.button = widgets.Button(description="Run", button_style="primary", tooltip="Segment the image")
        self.status, self.results = widgets.HTML(), widgets.HTML()
        self.upload.observe(self._uploaded, names="value")
        self.button.on_click(lambda _: self.run())
        head = widgets.HTML(_STYLE + _introduction(backbone))
        self.view = widgets.VBox([head, self.upload, self.words, self.methods, self.button, self.status, self.results])
        self.view.add_class("ovss-app")
        self._show_input()

    def run(self) -> None:
        """Segment the image and show the results; errors of the input are shown on the page."""
        self.button.disabled = True
        self.show_status("Working ...")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                chosen = list(self.methods.value)
                segmentations = segment_all(self.backbone, self.image, self.words.value, chosen, self.protocol)
            self.results.value = _results_html(segmentations, self.name)
            notes = [str(entry.message) for entry in caught if entry.category is UserWarning]
            self.show_status(" ".join([f"Done: {self.name}, {len(segmentations)} methods.", *notes]))
        except InputError as error:
            self.results.value = ""
            self.show_status(f"Error: {error}")
        finally:
            self.button.disabled = False

    def show_status(self, text: str) -> None:
        """Show a line of plain text in the status region."""
        self.status.value = f'<p role="status" aria-live="polite">{escape(text)}</p>'

    def _uploaded(self, change: Any) -> None:
        if not change["new"]:
            return
        file = change["new"][0]
        try:
            self.image, self.name = read_upload(file["name"], bytes(file["content"])), file["name"]
            self._show_input()
        except InputError as error:
            self.show_status(f"Error: {error}; '{self.name}' stays")

    def _show_input(self) -> None:
        self.results.value = f'<div class="ovss-grid">{_original(self.image, self.name)}</div>'
        self.show_status(f"{self.name} is ready; press Run.")


def _results_html(segmentations: Sequence[Segmentation], name: str) -> str:
    """The image, then overlays with legends and download links, as HTML; every word in it is escaped.

    Args:
        segmentations: What `segment_all` returned.
        name: File name of the image, which names the downloads.
    """
    figures = [_original(segmentations[0].image, name), *(_figure(each, safe_stem(name)) for each in segmentations)]
    return f'<div class="ovss-grid">{"".join(figures)}</div>'


def _original(image: Image.Image, name: str) -> str:
    caption = f"<figcaption><b>{escape(name)}</b></figcaption>"
    return f'<figure><img src="{data_address(shrink(image))}" alt="the image">{caption}</figure>'


def _figure(segmentation: Segmentation, stem: str) -> str:
    colours = class_colours(len(segmentation.classes))
    legend = "".join(
        '<li><i style="background:#{:02x}{:02x}{:02x}"></i>'.format(*colours[segmentation.classes.index(name)])
        + f"{escape(name)} {share:.0%}</li>"
        for name, share in segmentation.shares.items()
    )
    method = escape(segmentation.method)
    mask = index_mask(segmentation.labels, len(segmentation.classes))
    over = data_address(shrink(segmentation.overlay()))
    file = f"{stem}_{safe_stem(segmentation.method)}"
    return (
        f'<figure><img src="{over}" alt="classes under {method}"><figcaption><b>{method}</b>'
        f"<ul>{legend}</ul>"
        f'<a download="{file}_mask.png" href="{data_address(mask)}">'
        f'mask of {method}</a>, <a download="{file}_overlay.png" href="{data_address(segmentation.overlay())}">'
        f"overlay of {method}</a></figcaption></figure>"
    )


def _introduction(backbone: Backbone) -> str:
    weights = f" ({escape(str(backbone.pretrained))})" if backbone.pretrained else ""
    text = f"<h1>ovss playground</h1><p>Model: <b>{escape(backbone.name)}</b>{weights}."
    if backbone.is_tiny:
        text += " It is not CLIP: it knows only the words of drawn scenes, and on photographs its labels mean nothing."
    return text + " Separate classes by semicolons and synonyms by commas; 'background:' starts background words.</p>"
