"""Figures of the causal atlas show the numbers that they are given."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ovss.errors import InputError
from ovss.figures import atlas_figure, exchange_figure


def frame():
    rows = [
        {"kind": "head", "block": block, "head": head, "change": -float(10 * block + head), "p_holm": 0.5}
        for block in (1, 2)
        for head in (1, 2, 3)
    ]
    rows += [{"kind": "ffn", "block": block, "head": None, "change": 1.5, "p_holm": 0.01} for block in (1, 2)]
    return pd.DataFrame(rows)


def test_heads_and_ffns_stand_at_their_blocks_and_chance_in_brackets():
    plot = atlas_figure(frame())
    table = plot.frame.pivot(index="row", columns="column", values="value")
    np.testing.assert_allclose(table, [[-11, -21], [-12, -22], [-13, -23], [1.5, 1.5]])
    axis = plot.figure.axes[0]
    assert [text.get_text() for text in axis.texts] == [
        "(-11.0)",
        "(-21.0)",
        "(-12.0)",
        "(-22.0)",
        "(-13.0)",
        "(-23.0)",
        "+1.5",
        "+1.5",
    ]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["head 1", "head 2", "head 3", "FFN"]


def test_two_rows_of_one_part_are_refused():
    with pytest.raises(InputError, match="two rows of one part"):
        atlas_figure(pd.concat([frame(), frame()]))
    with pytest.raises(InputError, match="no row of a head"):
        atlas_figure(frame().assign(kind="joint"))


def test_each_image_begins_a_row_of_its_maps():
    images = {name: Image.new("RGB", (64, 64)) for name in ("image A", "image B")}
    maps = {name: np.full((4, 4), number) for number, name in enumerate(("a1", "a2", "b1", "b2"))}
    plot = exchange_figure(images, maps, ["cat", "dog", "sky", "sea"])
    assert [axis.get_title() for axis in plot.figure.axes] == ["image A", "a1", "a2", "image B", "b1", "b2"]
    assert plot.frame.values.tolist() == [["a1", "cat", 1], ["a2", "dog", 1], ["b1", "sky", 1], ["b2", "sea", 1]]
    with pytest.raises(InputError, match="2 images and 3 maps do not fill"):
        exchange_figure(images, dict(list(maps.items())[:3]), ["cat", "dog", "sky", "sea"])
