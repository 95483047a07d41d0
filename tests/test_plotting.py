"""Figures: what the artists hold is what was given; images are not compared."""

import itertools
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import seaborn as sns
from matplotlib.colors import to_rgba
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text

from lmc_lib import plotting, rng
from lmc_lib.plotting import style

METHODS = tuple(plotting.LABELS)


@pytest.fixture
def ax():
    with plt.rc_context(plotting.STYLE):
        figure, axes = plt.subplots()
        yield axes
        figure.canvas.draw()  # a figure that cannot be drawn raises here
        sizes = {text.get_text(): text.get_size() for text in figure.findobj(Text) if text.get_text()}
        assert min(sizes.values(), default=9) >= 9, f"{sizes}: below 9 points, of which a page makes 9 pixels"
        plt.close(figure)


def draw(*shape, name="values"):
    return rng.numpy_stream(0, "plotting", name).random(shape)


def vertices(collection):
    return np.concatenate([path.vertices for path in collection.get_paths()])


def across(ax):
    """The lines across the whole axes: zero, and the bound if there is one."""
    return [line for line in ax.lines if line.get_transform() == ax.get_yaxis_transform(which="grid")]


def heights(ax):
    return sorted(line.get_ydata()[0] for line in across(ax))


def shown(axis):
    """The labels of the ticks that can be seen, the minor ones among them."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [each.label1 for each in ticks if each.label1.get_text() and low <= each.get_loc() <= high]


def apart(axis):
    """Whether no label of a horizontal axis reaches into the next one, in a panel of half the width of a page."""
    axis.figure.set_size_inches(4.4, 3.6)
    axis.figure.canvas.draw()
    boxes = sorted((each.get_window_extent() for each in shown(axis)), key=lambda box: box.x0)
    return all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


# -- interpolation curves ----------------------------------------------------------------------------------------------


def test_every_pair_and_the_median_are_drawn_for_each_method(ax):
    alphas = np.linspace(0, 1, 5)
    given = {method: draw(4, 5, name=method) for method in METHODS}
    assert plotting.interpolation_curves(ax, alphas, given, ylabel="loss (nats)") is ax
    lines = [line for line in ax.lines if line not in across(ax)]
    assert len(lines) == len(METHODS) * 5
    for method in METHODS:
        *pairs, median = (lines.pop(0) for _ in range(5))
        np.testing.assert_array_equal([line.get_ydata() for line in pairs], given[method])
        np.testing.assert_array_equal(median.get_ydata(), np.median(given[method], axis=0))
        assert all(np.array_equal(line.get_xdata(), alphas) for line in (*pairs, median))
        assert median.get_label() == plotting.LABELS[method]
        assert all(line.get_alpha() < 0.5 for line in pairs)
        assert {line.get_color() for line in pairs} == {median.get_color()}


def test_axes_of_curves_are_labelled(ax):
    plotting.interpolation_curves(ax, np.linspace(0, 1, 3), {"none": draw(2, 3) + 5}, ylabel="loss (nats)")
    assert ax.get_ylabel() == "loss (nats)"
    assert "alpha" in ax.get_xlabel()
    assert "0: target, 1: source" in ax.get_xlabel()


def test_methods_differ_in_colour_and_in_dashes(ax):
    plotting.interpolation_curves(ax, np.linspace(0, 1, 3), {method: draw(1, 3) for method in METHODS}, ylabel="error")
    medians = [line for line in ax.lines if not line.get_label().startswith("_")]
    assert len({to_rgba(line.get_color()) for line in medians}) == len(METHODS)
    assert len({str(line._dash_pattern) for line in medians}) == len(METHODS)
    # The palette that tells colours apart under colour blindness.
    palette = {to_rgba(colour) for colour in sns.color_palette("colorblind")}
    assert {to_rgba(line.get_color()) for line in medians} <= palette


def test_colours_are_those_of_the_palette_that_colour_blind_people_can_tell_apart():
    assert list(sns.color_palette("colorblind")) == style.PALETTE  # in red, green and blue, of which arrays are made


# -- three networks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def triangle():
    """Weights and values on a triangle: a plane, so that contours are straight."""
    weights = np.array([[i, j, 4 - i - j] for i in range(5) for j in range(5 - i)]) / 4
    return weights, weights @ [1.0, 2.0, 4.0]


def test_triangle_shows_its_points_inside_named_corners(ax, triangle):
    assert plotting.triangle(ax, *triangle, ["A", "B", "C"], levels=np.linspace(1, 4, 7)) is ax
    (dots,) = ax.lines
    x, y = dots.get_data()
    # The corner of each network, in the order of the columns: lower left, lower right, top.
    for corner, place in enumerate([(0.0, 0.0), (1.0, 0.0), (0.5, 0.75**0.5)]):
        (index,) = np.flatnonzero(triangle[0][:, corner] == 1)
        assert (x[index], y[index]) == pytest.approx(place, abs=1e-15)
    named = {text.get_text(): text.xy for text in ax.texts if text.get_text() in "ABC"}
    assert named == {"A": (0.0, 0.0), "B": (1.0, 0.0), "C": (0.5, pytest.approx(0.75**0.5))}
    assert ax.get_aspect() == 1.0


def test_triangle_has_the_given_levels(ax, triangle):
    levels = np.geomspace(0.5, 5, 9)
    plotting.triangle(ax, *triangle, ["A", "B", "C"], levels=levels)
    filled, lines = ax.collections[:2]
    np.testing.assert_array_equal(filled.levels, levels)
    np.testing.assert_array_equal(lines.levels, levels[::2])
    # Each step between two levels has a colour of its own, also where levels are not evenly spaced.
    colours = filled.cmap(filled.norm((levels[1:] + levels[:-1]) / 2))
    assert len({tuple(colour) for colour in colours}) == len(levels) - 1


def test_labels_of_contours_keep_away_from_the_sides_of_the_triangle(ax):
    # Steep at the corners, so that many contours meet there.
    weights = np.array([(i, j, 12 - i - j) for i in range(13) for j in range(13 - i)]) / 12
    heights = 1.0 - (weights**4).sum(1)
    plotting.triangle(ax, weights, heights, ["A", "B", "C"], levels=np.linspace(0.0, 1.0, 17))
    labels = [text for text in ax.texts if text.get_text() not in "ABC"]
    assert len(labels) >= 2
    for text in labels:
        x, y = text.get_position()
        height = 0.75**0.5
        inside = (y, height * x - 0.5 * y, height * (1.0 - x) - 0.5 * y)  # distances to the three sides
        assert min(inside) > 0.07 - 1e-12, text.get_text()


def test_plane_has_its_networks_at_their_places_and_the_given_levels(ax):
    levels, networks = np.geomspace(0.5, 5, 9), {"A": (0.0, 0.0), "B": (3.0, 0.0), "C": (1.0, 2.0)}
    x, y = np.linspace(-1, 4, 6), np.linspace(-1, 3, 5)
    values = 1.0 + x + 0.3 * y[:, None] ** 2
    assert plotting.plane(ax, x, y, values, networks, levels=levels) is ax
    filled, lines = ax.collections[:2]
    np.testing.assert_array_equal(filled.levels, levels)
    np.testing.assert_array_equal(lines.levels, levels[::2])
    assert [tuple(float(each[0]) for each in line.get_data()) for line in ax.lines] == list(networks.values())
    assert {text.get_text(): text.xy for text in ax.texts} == networks
    # Rows of values are rows of the map: the drawing reaches as far as the coordinates do.
    assert (ax.dataLim.x0, ax.dataLim.x1, ax.dataLim.y0, ax.dataLim.y1) == (-1.0, 4.0, -1.0, 3.0)
    assert ax.get_aspect() == 1.0


@pytest.mark.parametrize("bound", [0.1, None])
def test_compositions_are_drawn_from_one_permutation_on(ax, bound):
    given = {method: draw(5, 3, name=method) for method in ("weights", "activations")}
    assert plotting.compositions(ax, given, bound=bound, xlabel="permutations composed", ylabel="barrier") is ax
    lines = [line for line in ax.lines if line not in across(ax)]
    assert len(lines) == 12
    for method in given:
        *chains, median = (lines.pop(0) for _ in range(6))
        np.testing.assert_array_equal([line.get_ydata() for line in chains], given[method])
        np.testing.assert_array_equal(median.get_ydata(), np.median(given[method], axis=0))
        assert median.get_label() == plotting.LABELS[method]
        assert median.get_xdata().tolist() == [1, 2, 3]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("permutations composed", "barrier")
    assert heights(ax) == [0.0, *([] if bound is None else [bound])]


# -- barriers of pairs -------------------------------------------------------------------------------------------------


def test_every_barrier_is_a_mark_near_its_method_and_the_median_a_bar(ax):
    given = {"none": draw(9, name="none"), "weights": draw(4, name="weights")}
    assert plotting.barriers_of_pairs(ax, given, ylabel="barrier (nats)") is ax
    marks, bars = ax.collections[::2], ax.collections[1::2]
    assert len(marks) == len(bars) == 2
    for place, values, mark, bar in zip(range(2), given.values(), marks, bars, strict=True):
        points = np.asarray(mark.get_offsets())
        np.testing.assert_array_equal(points[:, 1], values)
        assert np.abs(points[:, 0] - place).max() < 0.3
        np.testing.assert_array_equal(vertices(bar)[:, 1], np.full(2, np.median(values)))
        assert vertices(bar)[:, 0].mean() == pytest.approx(place)
    assert [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()] == [
        "no permutation",
        "weight matching",
    ]
    assert ax.get_xticks().tolist() == [0, 1]
    assert ax.get_ylabel() == "barrier (nats)"


def test_marks_are_spread_the_same_each_time(ax):
    values = draw(7)
    for _ in range(2):
        plotting.barriers_of_pairs(ax, {"none": values}, ylabel="barrier")
    first, _, second, _ = ax.collections
    np.testing.assert_array_equal(first.get_offsets(), second.get_offsets())
    assert len(set(np.asarray(first.get_offsets())[:, 0])) > 1


@pytest.mark.parametrize("bound", [0.0, 0.3, None])
def test_bound_is_a_line_across_with_its_word(ax, bound):
    plotting.barriers_of_pairs(ax, {"none": draw(5)}, bound=bound, ylabel="barrier")
    words = [text for text in ax.texts if text.get_text() == "connected"]
    assert heights(ax) == [0.0, *([] if bound is None else [bound])]
    assert [word.xy[1] for word in words] == ([] if bound is None else [bound])


# -- along a sequence --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "options"), [([0, 10, 300], {}), (["100", "64", "41"], {"xlabel": "weights left (%)"})]
)
def test_every_pair_and_the_median_are_drawn_along_a_sequence(ax, steps, options):
    given = {name: draw(4, 3, name=name) for name in ("no permutation", "one permutation")}
    assert plotting.along_steps(ax, steps, given, bound=0.1, ylabel="barrier in test error", **options) is ax
    lines = [line for line in ax.lines if line not in across(ax)]
    for name, values in given.items():
        *pairs, median = (lines.pop(0) for _ in range(5))
        np.testing.assert_array_equal([line.get_ydata() for line in pairs], values)
        np.testing.assert_array_equal(median.get_ydata(), np.median(values, axis=0))
        assert median.get_label() == name
    assert [label.get_text() for label in ax.get_xticklabels()] == list(map(str, steps))
    assert ax.get_xlabel() == options.get("xlabel", "checkpoint (updates)")
    assert ax.get_ylabel() == "barrier in test error"
    assert heights(ax) == [0.0, 0.1]


def test_numbers_far_from_zero_need_not_show_it(ax):
    plotting.along_steps(ax, ["inputs", "1"], {"trained": 1.2 + 0.1 * draw(4, 2)}, zero=False, ylabel="distance")
    assert heights(ax) == []
    assert ax.get_ylim()[0] > 1.0


def test_labels_of_a_long_sequence_do_not_run_into_each_other(ax):
    steps = [f"{100 * 0.8**level:.3g}" for level in range(13)]
    plotting.along_steps(ax, steps, {"no permutation": draw(4, 13)}, xlabel="weights left (%)", ylabel="barrier")
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "100", "", "64", "", "41", "", "26.2", "", "16.8", "", "10.7", "", "6.87",
    ]  # fmt: skip
    assert apart(ax.xaxis)


# -- barriers against width --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [0.25, None])
def test_estimates_are_drawn_at_their_widths_with_their_intervals(ax, bound):
    widths = [16, 64, 256]
    given = {
        "none": [(3.0, 2.0, 5.0), (2.0, 1.5, 2.5), (1.0, 0.0, 1.5)],
        "weights": [(1.0, 0.5, 1.5), (0.5, 0.25, 1.0), (0.125, 0.0, 0.25)],
        "activations": [(2.0, 1.0, 3.0), (1.0, 0.5, 1.5), (0.5, 0.5, 0.75)],
    }
    assert (
        plotting.barriers_against_width(ax, widths, given, bound=bound, xlabel="width (units)", ylabel="barrier (nats)")
        is ax
    )
    drawn = [each for each in ax.containers if isinstance(each, ErrorbarContainer)]
    assert [each.get_label() for each in drawn] == [plotting.LABELS[method] for method in given]
    for container, estimates in zip(drawn, given.values(), strict=True):
        line, _, (bars,) = container
        np.testing.assert_array_equal(line.get_ydata(), [middle for middle, _, _ in estimates])
        # Methods are set a little apart, on a logarithmic axis, so that their bars do not hide each other.
        assert np.abs(np.log2(line.get_xdata() / widths)).max() < 0.25
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        # The interval is passed on as two differences: one rounding.
        np.testing.assert_allclose(ends, [[low, high] for _, low, high in estimates], rtol=0, atol=1e-15)
    assert len({float(each[0].get_xdata()[0]) for each in drawn}) == 3
    assert len({each[0].get_marker() for each in drawn}) == 3
    assert heights(ax) == [0.0, *([] if bound is None else [bound])]


def test_axis_of_widths_is_logarithmic_with_a_tick_a_width(ax):
    widths = [16, 64, 256]
    plotting.barriers_against_width(ax, widths, {"none": [(1.0, 0.5, 2.0)] * 3}, xlabel="width", ylabel="barrier")
    assert ax.get_xscale() == "log"
    assert ax.get_xticks().tolist() == widths
    assert [label.get_text() for label in ax.get_xticklabels()] == ["16", "64", "256"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "barrier")


def test_a_single_method_stands_at_its_widths(ax):
    plotting.barriers_against_width(ax, [8, 32], {"none": [(1.0, 0.5, 2.0)] * 2}, xlabel="width", ylabel="barrier")
    assert ax.containers[0][0].get_xdata().tolist() == [8.0, 32.0]


# -- what all figures share --------------------------------------------------------------------------------------------

FIGURES = {
    "curves": lambda ax, top: plotting.interpolation_curves(
        ax, np.linspace(0, 1, 3), {"none": np.full((2, 3), top)}, ylabel="y"
    ),
    "pairs": lambda ax, top: plotting.barriers_of_pairs(ax, {"none": np.full(3, top)}, ylabel="y"),
    "widths": lambda ax, top: plotting.barriers_against_width(
        ax, [8, 16], {"none": [(top, top - 1, top)] * 2}, xlabel="x", ylabel="y"
    ),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_axis_shows_zero_so_that_heights_can_be_compared(ax, figure):
    figure(ax, 5.0)
    low, high = ax.get_ylim()
    assert low <= 0.0
    assert high >= 5.0
    assert heights(ax) == [0.0]


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_shared_axes_grow_to_the_largest_value(figure):
    with plt.rc_context(plotting.STYLE):
        canvas, (small, large) = plt.subplots(1, 2, sharey=True)
        figure(small, 2.0)
        figure(large, 9.0)
        assert small.get_ylim() == large.get_ylim()
        assert small.get_ylim()[1] >= 9.0
        plt.close(canvas)


def test_style_is_made_of_settings_that_matplotlib_knows():
    assert set(plotting.STYLE) <= set(plt.rcParams)


def test_growth_draws_each_part_on_logarithmic_axes(ax):
    seconds = {"setup_seconds": [0.1, 0.1], "sweep_seconds": [0.01, 0.04], "seconds": [0.12, 0.2]}
    assert plotting.growth(ax, [64, 128], seconds, xlabel="width (units a layer)") is ax
    assert {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()} == {
        "tracing": [0.1, 0.1], "one sweep": [0.01, 0.04], "total": [0.12, 0.2]
    }  # fmt: skip
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_ylabel() == "time (s)"


# -- twins -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(1, (5.8, 3.0)), (2, (8.8, 3.0)), (3, (8.8, 6.0)), (6, (8.8, 9.0))])
@pytest.mark.parametrize("share", [True, False])
def test_panels_stand_in_rows_of_two_and_each_shows_its_own_numbers(count, size, share):
    figure, axes = plotting.panels(count, height=3.0, share=share)
    places = [each.get_subplotspec() for each in axes]
    assert [(each.rowspan.start, each.colspan.start) for each in places] == [divmod(n, 2) for n in range(count)]
    assert figure.axes == axes
    assert tuple(figure.get_size_inches()) == size
    assert all(ax.yaxis.get_tick_params()["labelleft"] for ax in axes)
    axes[-1].set_ylim(2.0, 7.0)
    assert (axes[0].get_ylim() == (2.0, 7.0)) == (share or count == 1)
    plt.close(figure)


def test_panels_that_share_an_axis_cut_nothing_off():
    _, axes = plt.subplots(1, 2, sharey=True)
    words = {"xlabel": "distance", "ylabel": "barrier"}
    for panel, height in zip(axes, (0.01, 3.0), strict=True):
        plotting.scatter(panel, {"twins": (np.array([1.0, 2.0]), np.array([0.0, height]))}, floor=0.001, **words)
    low, high = axes[0].get_ylim()
    assert low < 0.001
    assert high > 3.0


def test_a_floor_makes_the_axis_logarithmic_and_lifts_what_lies_below(ax):
    values = np.array([[0.5, 0.0], [0.3, 1e-5], [0.4, 0.02]])
    plotting.along_steps(ax, [0, 10], {"size 1": values}, floor=1e-3, ylabel="barrier")
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] < 1e-3
    median = next(line for line in ax.lines if line.get_label() == "size 1")
    np.testing.assert_allclose(median.get_ydata(), [0.4, 1e-3])
    assert heights(ax) == [1e-3]


def test_twins_that_diverged_leave_the_median_of_the_others(ax):
    values = np.array([[0.5, np.nan], [0.3, 0.2]])
    plotting.along_steps(ax, [0, 10], {"size 1": values}, ylabel="barrier")
    median = next(line for line in ax.lines if line.get_label() == "size 1")
    np.testing.assert_allclose(median.get_ydata(), [0.4, 0.2])


def test_divergence_shows_every_pair_of_twins_and_the_median_from_the_parting_on(ax):
    distances = {"size 1": np.exp(draw(3, 4)), "one weight": np.exp(draw(3, 4, name="other"))}
    assert plotting.divergence(ax, [0, 1, 10, 100], distances) is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert len(ax.lines) == 2 * 4
    for label, values in distances.items():
        median = next(line for line in ax.lines if line.get_label() == label)
        np.testing.assert_allclose(median.get_ydata(), np.median(values, axis=0))
        np.testing.assert_allclose(median.get_xdata(), [0.5, 1, 10, 100])


def test_marks_stand_where_the_values_say(ax):
    points = {"SGD": (draw(5), draw(5, name="y")), "AdamW": (draw(3, name="x2"), np.zeros(3))}
    plotting.scatter(ax, points, floor=1e-3, xlabel="distance", ylabel="barrier")
    for collection, (x, y) in zip(ax.collections, points.values(), strict=True):
        np.testing.assert_allclose(collection.get_offsets(), np.c_[x, np.maximum(y, 1e-3)])
    assert [each.get_label() for each in ax.collections] == list(points)


def test_a_forest_has_a_row_for_each_ratio_from_the_top_down(ax):
    rows = {"wide": (4.0, 2.0, 9.0), "decay": (0.5, 0.3, 1.1)}
    plotting.forest(ax, rows, bounds={"wide": 3.0}, xlabel="ratio")
    (container,) = (each for each in ax.containers if isinstance(each, ErrorbarContainer))
    np.testing.assert_allclose(container.lines[0].get_xdata(), [4.0, 0.5])
    np.testing.assert_allclose(container.lines[0].get_ydata(), [1, 0])
    intervals = container.lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 0] for segment in intervals], [[2.0, 9.0], [0.3, 1.1]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["wide", "decay"]
    assert ax.get_xscale() == "log"


@pytest.mark.parametrize(("low", "high"), [(0.45, 8.5), (0.9, 1.2), (0.3, 40.0), (1e-3, 1e3)])
def test_labels_of_ratios_are_numbers_that_do_not_run_into_each_other(ax, low, high):
    plotting.forest(ax, {"wide": (high**0.5, 1.0, high), "decay": (low**0.5, low, 1.0)}, xlabel="ratio")
    assert apart(ax.xaxis)
    texts = [label.get_text() for label in shown(ax.xaxis)]
    assert all(float(text) > 0.0 for text in texts)
    assert "1" in texts
    assert len(texts) >= 2 or high < 2.0


# -- examples ----------------------------------------------------------------------------------------------------------


def test_a_manhattan_plot_sorts_examples_by_class_and_marks_some(ax):
    strength, classes = draw(30) - 0.5, np.arange(30) % 3 + 5
    plotting.manhattan(ax, strength, classes, [4, 9], ylabel="harder for A")
    points = np.concatenate([each.get_offsets() for each in ax.collections])
    order = np.argsort(classes, kind="stable")
    np.testing.assert_array_equal(points[points[:, 0].argsort(), 1], strength[order])
    marked = ax.collections[-1].get_offsets()
    np.testing.assert_array_equal(sorted(marked[:, 1]), sorted(strength[[4, 9]]))
    assert [each.get_text() for each in ax.get_xticklabels()] == ["5", "6", "7"]
    np.testing.assert_allclose(ax.get_xticks(), [5.0, 15.0, 25.0])
    assert len({tuple(each.get_facecolor()[0]) for each in ax.collections}) == 3


def test_a_manhattan_plot_may_name_its_classes(ax):
    plotting.manhattan(ax, draw(6), np.arange(6) % 2 * 2, names=["bag", "coat", "shirt"], ylabel="harder for A")
    assert [each.get_text() for each in ax.get_xticklabels()] == ["bag", "shirt"]


def test_a_manhattan_plot_may_mark_none(ax):
    plotting.manhattan(ax, draw(6), np.arange(6), ylabel="harder for A")
    assert sum(len(each.get_offsets()) for each in ax.collections) == 6


def test_accuracies_stand_at_their_sizes_with_their_intervals_and_chance(ax):
    rows = {"chosen": [(0.5, 0.4, 0.7), (0.8, 0.7, 0.9)], "random": [(0.3, 0.2, 0.4), (0.5, 0.4, 0.6)]}
    plotting.with_intervals(ax, (1, 10), rows, logarithmic=True, chance=0.25, xlabel="examples", ylabel="accuracy")
    bars = [each for each in ax.containers if isinstance(each, ErrorbarContainer)]
    for bar, (label, values) in zip(bars, rows.items(), strict=True):
        assert bar.get_label() == label
        np.testing.assert_allclose(bar[0].get_ydata(), [each[0] for each in values])
        ends = np.array([segment[:, 1] for segment in bar[2][0].get_segments()])
        np.testing.assert_allclose(ends, [each[1:] for each in values])
        np.testing.assert_allclose(bar[0].get_xdata(), [1, 10], rtol=0.06)
    assert heights(ax) == [0.25]
    assert ax.get_xscale() == "log"


def test_a_gallery_shows_each_image_and_leaves_other_places_empty():
    figure, axes = plt.subplots(1, 3)
    images = draw(2, 1, 4, 4)
    plotting.gallery(axes, images, ["first", "second"])
    assert [len(each.get_images()) for each in axes] == [1, 1, 0]
    shown = axes[1].get_images()[0].get_array()
    np.testing.assert_allclose(shown, (images[1, 0] - images[1].min()) / np.ptp(images[1]))
    assert axes[0].get_title() == "first"
    plt.close(figure)


def test_estimates_stand_near_their_numbers_with_their_intervals(ax):
    places = (0.25, 0.5, 1.0)
    estimates = {name: [(value, value - 0.1, value + 0.2) for value in draw(3, name=name)] for name in ("a", "b", "c")}
    plotting.with_intervals(ax, places, estimates, xlabel="part", ylabel="accuracy")
    bars = [each for each in ax.containers if isinstance(each, ErrorbarContainer)]
    assert [each.get_label() for each in bars] == ["a", "b", "c"]
    for container, values in zip(bars, estimates.values(), strict=True):
        line, _, (intervals,) = container
        assert np.abs(line.get_xdata() - places).max() < 0.02
        assert line.get_ydata() == pytest.approx([value for value, _, _ in values])
        ends = [(low, high) for _, low, high in values]
        assert np.array([each[:, 1] for each in intervals.get_segments()]) == pytest.approx(np.array(ends))
    assert len({tuple(each[0].get_xdata()) for each in bars}) == 3
    assert len({(each[0].get_color(), each[0].get_marker()) for each in bars}) == 3
    assert [each.get_text() for each in ax.get_xticklabels()] == ["0.25", "0.5", "1"]


PATHS = {"a": draw(3, 5, 2, name="a"), "b": draw(2, 4, 2, name="b")}


def test_paths_are_drawn_on_a_map_with_their_mean_and_named_ends(ax):
    plotting.paths_on_map(ax, PATHS)
    labels, means = zip(
        *[(line.get_label(), line) for line in ax.get_lines() if line.get_marker() in "os"], strict=True
    )
    assert labels[:2] == ("a", "b")
    for places, line in zip(PATHS.values(), means, strict=False):
        np.testing.assert_allclose(line.get_xydata(), places.mean(0))
        assert line.get_markevery() == slice(1, -1)
    faint = [line for line in ax.get_lines() if line.get_alpha() is not None]
    drawn = [line.get_xydata() for line in faint]
    for expected, found in zip([*PATHS["a"], *PATHS["b"]], drawn, strict=True):
        np.testing.assert_allclose(found, expected)
    ends = {text.get_text(): text.xy for text in ax.texts}
    assert ends == {
        "inputs": pytest.approx(PATHS["a"][:, 0].mean(0)),
        "labels": pytest.approx(PATHS["a"][:, -1].mean(0)),
    }


def test_paths_in_space_carry_their_points_and_nothing_from_outside():
    paths = {"a": draw(3, 5, 3, name="a"), "b": draw(2, 4, 3, name="b")}
    text = plotting.paths_in_space(paths, name="view", description='<b> & "c"')
    assert 'id="view"' in text
    assert 'getElementById("view")' in text
    assert 'aria-label="&lt;b&gt; &amp; &quot;c&quot;"' in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    lines = json.loads(re.search(r'<script type="application/json">(.+?)</script>', text)[1])
    assert [(len(each["points"]), each["bold"]) for each in lines] == [(5, False)] * 3 + [(5, True)] + [
        (4, False)
    ] * 2 + [(4, True)]
    # A shift and a scale take the points to the drawing, where none is farther from the middle than its room.
    points = np.concatenate([line["points"] for line in lines if not line["bold"]])
    given = np.concatenate([each.reshape(-1, 3) for each in paths.values()])
    scale = np.linalg.norm(points[0] - points[7]) / np.linalg.norm(given[0] - given[7])
    np.testing.assert_allclose(points - points.mean(0), scale * (given - given.mean(0)), atol=0.3)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(200.0, abs=0.2)
    assert lines[3]["points"] == pytest.approx(np.mean([line["points"] for line in lines[:3]], axis=0), abs=0.11)


def test_what_was_measured_stands_as_points_beside_the_lines_of_laws(ax):
    times = np.linspace(0.0, 3.0, 7)
    laws = {"a law": times**2, "another": -times}
    plotting.against_laws(ax, times, times + 1.0, laws, ylabel="charge")
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines.keys() == {"a law", "another", "measured"}
    assert lines["measured"].get_linestyle() == "None"
    assert lines["measured"].get_ydata() == pytest.approx(times + 1.0)
    assert lines["another"].get_ydata() == pytest.approx(-times)
    assert lines["a law"].get_linestyle() != lines["another"].get_linestyle()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (updates × rate)", "charge")


def test_powers_stand_at_their_medians_beside_the_slope_of_theory(ax):
    rates = [0.04, 0.01]
    sizes, controls = {"ours": np.array([[4.0, 2.0], [8.0, 3.0], [9.0, 1.0]])}, {"control": np.full((3, 2), 7.0)}
    plotting.powers(ax, rates, sizes, power=2.0, controls=controls, ylabel="size")
    marks = {line.get_label(): line for line in ax.get_lines() if line.get_marker() not in ("None", None, "")}
    assert marks["ours"].get_ydata() == pytest.approx([8.0, 2.0])
    assert marks["control"].get_ydata() == pytest.approx([7.0, 7.0])
    assert marks["control"].get_markerfacecolor() == "white"
    assert marks["control"].get_color() == marks["ours"].get_color()
    (guide,) = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert guide.get_ydata() == pytest.approx([8.0, 0.5])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.04", "0.01"]


def test_orders_join_the_places_of_each_and_mark_those_that_move(ax):
    """By the first number the order is b, c, a, and by the second a, c, b: the least on top."""
    plotting.orders(ax, {"a": (3.0, -1.0), "b": (1.0, 9.0), "c": (2.0, 5.0)}, sides=("first", "second"))
    assert [line.get_ydata().tolist() for line in ax.lines] == [[2, 0], [0, 2], [1, 1]]
    assert [line.get_color() for line in ax.lines] == ["0.15", "0.15", "0.7"]
    assert [(text.get_text(), text.get_position()[1]) for text in ax.texts[:4]] == [
        ("a", 2),
        ("a", 0),
        ("b", 0),
        ("b", 2),
    ]
    assert ax.yaxis_inverted()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first", "second"]


def test_a_matrix_has_its_numbers_written_in(ax):
    values = np.array([[0.0, 0.25, 1.0], [0.5, 0.125, 0.75]])
    plotting.matrix(ax, values, ["a", "b"], [1, 2, 3], xlabel="used", ylabel="found", highest=1.0)
    written = {each.get_position(): each.get_text() for each in ax.texts}
    assert written == {(x, y): f"{values[y, x]:.2f}" for y in range(2) for x in range(3)}
    assert [each.get_text() for each in ax.get_yticklabels()] == ["a", "b"]


def test_a_map_of_correlations_has_like_beside_like_and_leaves_out_what_is_not_known(ax):
    values = np.array([[1.0, 0.1, np.nan, 0.9], [0.1, 1.0, np.nan, 0.2], [np.nan] * 4, [0.9, 0.2, np.nan, 1.0]])
    plotting.correlation_map(ax, values, ["a", "b", "c", "d"])
    labels = [each.get_text() for each in ax.get_xticklabels()]
    assert sorted(labels) == ["a", "b", "d"] and abs(labels.index("a") - labels.index("d")) == 1
