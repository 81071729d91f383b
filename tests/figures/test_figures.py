"""Figures show what they were given, at any image size, and read no markup in a user's words."""

from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from ovss import InputError
from ovss.figures import (
    bar_figure,
    curve_figure,
    dumbbell_figure,
    heads_figure,
    image_figure,
    label_figure,
    layer_figure,
    link_figure,
    map_figure,
    matrix_figure,
    save_figure,
    segmentation_figure,
)
from ovss.images.colours import class_colours, named_colours, paint


def stub(width: int, height: int, classes: tuple[str, ...], labels: np.ndarray | None = None) -> Any:
    rows, columns = np.mgrid[:height, :width]
    labels = (rows * len(classes) // max(height, 1) + columns * 0) if labels is None else labels
    picture = Image.fromarray(np.full((height, width, 3), 90, np.uint8))
    return SimpleNamespace(image=picture, labels=labels, classes=classes, method="naclip")


def legend_texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def inked(figure: Any) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("size", [(192, 192), (4000, 60), (60, 4000), (1, 1), (640, 427)])
def test_segmentation_figures_of_any_image_size_draw_two_panels_inside_the_figure(size: tuple[int, int]) -> None:
    figure = segmentation_figure(stub(*size, ("cat", "sofa")))
    inked(figure)
    for axis in figure.axes:
        box = axis.get_window_extent()
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= figure.bbox.width + 1
        assert box.y1 <= figure.bbox.height + 1
        assert box.height > 30
        assert box.width > 30
    assert len(figure.axes) == 2


def test_the_legend_names_the_classes_that_occur_largest_first_with_their_share() -> None:
    labels = np.zeros((10, 10), int)
    labels[:7] = 2
    texts = legend_texts(segmentation_figure(stub(10, 10, ("cat", "dog", "wall"), labels)))
    assert texts == ["wall  70 %", "cat  30 %"]


def test_a_label_map_is_flat_in_the_class_colours_of_the_palette() -> None:
    segmentation = stub(8, 8, ("cat", "dog"))
    drawn = np.asarray(segmentation_figure(segmentation).axes[1].images[0].get_array())
    assert np.array_equal(drawn, paint(segmentation.labels, 2))
    assert not np.array_equal(class_colours(2)[0], class_colours(2)[1])


def test_markup_and_leading_underscores_in_class_names_are_shown_as_typed() -> None:
    figure = segmentation_figure(stub(20, 20, ("$\\frac{1}{2}$ price", "_hidden", "a $ sign")))
    inked(figure)
    shown = [text.replace(r"\$", "$") for text in legend_texts(figure)]
    assert {text.split("  ")[0] for text in shown} == {"$\\frac{1}{2}$ price", "_hidden", "a $ sign"}


def test_long_names_and_thirty_classes_stay_inside_the_figure() -> None:
    names = tuple(f"class number {i} with a name that is rather long for a legend entry" for i in range(30))
    figure = segmentation_figure(stub(100, 60, names))
    inked(figure)
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width
    assert legend.y1 <= min(axis.get_window_extent().y0 for axis in figure.axes)
    assert len(legend_texts(figure)) == 30


def test_label_figures_show_void_and_return_the_shares_they_drew() -> None:
    truth = np.array([[0, 0], [1, 255]])
    plot = label_figure(Image.new("RGB", (20, 20)), {"truth": truth}, ["cat", "dog"])
    assert legend_texts(plot.figure) == ["cat", "dog", "void"]
    assert plot.frame.set_index("class")["share"].to_dict() == {"cat": 0.5, "dog": 0.25}


def test_classes_of_scenes_keep_their_colour_and_large_regions_carry_their_name() -> None:
    labels = np.zeros((40, 40), int)
    labels[:, 20:] = 1
    labels[0, 0] = 2
    for names in (["sky", "grass", "lava"], ["grass", "sky", "lava"]):
        axis = label_figure(Image.new("RGB", (40, 40)), {"map": labels}, names).figure.axes[1]
        assert np.array_equal(np.asarray(axis.images[0].get_array()), paint(labels, named_colours(names)))
        assert [text.get_text() for text in axis.texts] == names[:2]  # the single pixel has no room


def test_few_of_many_classes_take_colours_that_are_easy_to_tell_apart() -> None:
    names, labels = [str(number) for number in range(22)], np.repeat([[1, 14, 20, 21]], 4, axis=0)
    picture = Image.new("RGB", (4, 4))
    drawn = label_figure(picture, {"map": labels}, names).figure.axes[1].images[0].get_array()
    table = class_colours(22).copy()
    table[[1, 14, 20, 21]] = class_colours(4)
    assert np.array_equal(np.asarray(drawn), paint(labels, table))
    every = label_figure(picture, {"map": np.arange(22).reshape(2, 11)}, names).figure.axes[1].images[0].get_array()
    numbers = np.arange(22).reshape(2, 11)[np.ix_([0, 0, 1, 1], [0, 2, 5, 8])]
    assert np.array_equal(np.asarray(every), paint(numbers, 22))


def test_panels_are_laid_out_in_rows_of_equal_length() -> None:
    maps = {str(number): np.zeros((2, 2), int) for number in range(4)}
    figure = label_figure(Image.new("RGB", (20, 20)), maps, ["cat"]).figure
    inked(figure)
    tops = [round(axis.get_window_extent().y1) for axis in figure.axes[:5]]
    assert len(set(tops)) == 2
    assert tops.count(tops[0]) == 3


def test_map_figures_share_one_scale_and_return_every_value() -> None:
    plot = map_figure(None, {"a": np.arange(6.0).reshape(2, 3), "b": np.full((2, 3), 9.0)}, label="attention")
    scales = {axis.images[0].get_clim() for axis in plot.figure.axes[:2]}
    assert scales == {(0.0, 9.0)}
    assert len(plot.frame) == 12
    assert plot.frame.query("map == 'a' and row == 1 and column == 2")["value"].item() == 5


def test_maps_that_are_not_grids_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"map 'a' must be \(h, w\), not \(4,\)"):
        map_figure(None, {"a": np.zeros(4)}, label="")
    with pytest.raises(InputError, match="label map 'truth'"):
        label_figure(Image.new("RGB", (2, 2)), {"truth": np.zeros(4, int)}, ["cat"])


def test_saved_figures_are_the_same_bytes_each_time(tmp_path: Any) -> None:
    def write(folder: str) -> list[bytes]:
        (tmp_path / folder).mkdir()
        plot = map_figure(None, {"a": np.eye(3)}, label="attention (share)")
        return [file.read_bytes() for file in save_figure(plot, tmp_path / folder / "map")]

    png, svg, csv = write("one")
    assert [png, svg, csv] == write("two")
    assert png.startswith(b"\x89PNG")
    assert b"<svg" in svg
    assert csv.startswith(b"map,row,column,value")


def test_a_missing_folder_is_named(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="absent"):
        save_figure(map_figure(None, {"a": np.eye(2)}, label=""), tmp_path / "absent" / "x")


def test_drawing_leaves_matplotlibs_settings_alone() -> None:
    before = dict(matplotlib.rcParams)
    segmentation_figure(stub(10, 10, ("cat",)))
    assert dict(matplotlib.rcParams) == before


class TestMeasures:
    FRAME = pd.DataFrame(
        [
            (image, layer, head, measure, layer * scale + head + image)
            for image in (0, 1)
            for layer in (1, 2, 3)
            for head in (1, 2)
            for measure, scale in (("entropy", 1.0), ("distance", 10.0))
        ],
        columns=["image", "layer", "head", "measure", "value"],
    )

    def test_a_layer_figure_draws_medians_because_its_band_lies_between_quartiles(self) -> None:
        frame = pd.DataFrame({"image": range(5), "layer": 1, "measure": "m", "value": [1.0, 1.0, 2.0, 2.0, 94.0]})
        plot = layer_figure(pd.concat([frame, frame.assign(layer=2)]), label="")
        assert list(plot.figure.axes[0].lines[0].get_ydata()) == [2.0, 2.0]
        assert plot.frame[["median", "lower", "upper"]].iloc[0].tolist() == [2.0, 1.0, 2.0]

    def test_layer_figures_draw_the_median_over_images_and_heads(self) -> None:
        plot = layer_figure(self.FRAME, label="value", measures={"distance": "distance", "entropy": "entropy"})
        lines = {line.get_label(): list(line.get_ydata()) for line in plot.figure.axes[0].lines}
        assert lines == {"distance": [12.0, 22.0, 32.0], "entropy": [3.0, 4.0, 5.0]}
        assert plot.frame.query("measure == 'distance' and layer == 2")["values"].item() == 4

    def test_the_legend_of_a_layer_figure_lies_above_the_curves_and_inside_the_figure(self) -> None:
        names = {f"m{i}": f"measure number {i} with a long name" for i in range(4)}
        frame = pd.concat([self.FRAME[self.FRAME["measure"] == "entropy"].assign(measure=name) for name in names])
        figure = layer_figure(frame, label="value", measures=names).figure
        inked(figure)
        legend, axis = figure.axes[0].get_legend().get_window_extent(), figure.axes[0].get_window_extent()
        assert legend.y0 >= axis.y1 - 1
        assert legend.y1 <= figure.bbox.height + 1
        assert legend.x1 <= figure.bbox.width + 1
        assert axis.height > 80

    def test_an_absent_measure_is_named_with_those_that_exist(self) -> None:
        with pytest.raises(InputError, match=r"measure 'x' has no finite values; the frame has entropy, distance"):
            layer_figure(self.FRAME, label="", measures={"x": "x"})

    def test_heads_figures_average_images_only(self) -> None:
        plot = heads_figure(self.FRAME, "entropy", label="entropy")
        drawn = np.asarray(plot.figure.axes[0].collections[0].get_array()).reshape(2, 3)
        assert drawn.tolist() == [[2.5, 3.5, 4.5], [3.5, 4.5, 5.5]]
        with pytest.raises(InputError, match="no values per head"):
            heads_figure(self.FRAME, "x", label="")

    def test_matrices_show_their_numbers_and_signed_scales_are_symmetric(self) -> None:
        plot = matrix_figure({"a": np.array([[1.0, -0.5]])}, label="v", signed=True, columns=["x", "$y$"])
        axis = plot.figure.axes[0]
        assert [text.get_text() for text in axis.texts] == ["+1.00", "-0.50"]
        assert axis.collections[0].get_clim() == (-1, 1)
        inked(plot.figure)
        assert plot.frame["value"].tolist() == [1.0, -0.5]

    def test_bars_keep_the_order_of_the_frame_and_show_intervals(self) -> None:
        frame = pd.DataFrame(
            {"method": ["clip", "naclip"], "mIoU": [20.0, 60.0], "low": [15.0, 50.0], "high": [25.0, 65.0]}
        )
        plot = bar_figure(frame, value="mIoU", name="method", label="mIoU (%)", low="low", high="high")
        axis = plot.figure.axes[0]
        assert [tick.get_text() for tick in axis.get_yticklabels()] == ["clip", "naclip"]
        assert [bar.get_width() for bar in axis.patches] == [20.0, 60.0]
        inked(plot.figure)
        tops = [bar.get_window_extent().y1 for bar in axis.patches]
        assert tops[0] > tops[1]

    def test_links_are_drawn_per_block_and_head(self) -> None:
        rows = [("m", layer, head, 0.1 * layer, -0.1, 0.5, 30) for layer in (1, 2) for head in (1, 2)]
        links = pd.DataFrame(rows, columns=["measure", "layer", "head", "rho", "low", "high", "rows"]).astype(
            {"head": "Int64"}
        )
        plot = link_figure(links)
        inked(plot.figure)
        assert len(plot.figure.axes[0].containers) == 2
        assert len(plot.frame) == 4
        with pytest.raises(InputError, match="none of the measures"):
            link_figure(links, measures=["x"])

    def test_image_figures_show_the_pixels_they_were_given(self) -> None:
        panel = np.random.default_rng(0).random((4, 6, 3))
        plot = image_figure({"state 1": panel, "picture": Image.new("RGB", (6, 4))})
        assert np.allclose(np.asarray(plot.figure.axes[0].images[0].get_array()), panel, atol=6e-5)
        assert plot.frame["width"].tolist() == [6, 6]


def test_a_line_without_values_is_left_out_and_the_others_keep_their_names():
    rows = [{"images": count, "method": name, "width": 1 / count} for count in (10, 20) for name in ("a", "b", "c")]
    frame = pd.DataFrame(rows)
    frame.loc[frame["method"] == "b", "width"] = np.nan
    figure = curve_figure(frame, "images", "width", "method", "images", "width").figure
    assert legend_texts(figure) == ["a", "c"]


def test_dumbbells_stand_in_groups_with_the_furthest_apart_on_top() -> None:
    frame = pd.DataFrame(
        {"m": list("abcd"), "data": ["x", "y", "x", "y"], "lo": [10, 20, 30, 40], "hi": [12, 29, 35, 41]}
    )
    plot = dumbbell_figure(frame, label="m", low="lo", high="hi", group="data", unit="mIoU")
    axis = plot.figure.axes[0]
    assert plot.frame["m"].tolist() == ["b", "d", "c", "a"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["b", "d", "c", "a"]
    places = [float(place) for place in axis.get_yticks()]
    heads = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert heads["y"] < places[0] < places[1] < heads["x"] < places[2] < places[3]
    small, large = (points.get_offsets() for points in axis.collections if len(points.get_offsets()) == 4)
    assert np.asarray(small).tolist() == [[20, places[0]], [40, places[1]], [30, places[2]], [10, places[3]]]
    assert np.asarray(large)[:, 0].tolist() == [29, 41, 35, 12]
