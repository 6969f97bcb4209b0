"""One colour for a method, whichever figure it is in."""

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.fine_tuning_figure import fine_tuning_by_seconds
from analysis.load import load_results
from analysis.names import METHODS, method
from analysis.palette import KIND_COLORS
from analysis.planned import FIG3, load_plan, memory_by_context
from analysis.predicted import predicted_against_measured
from tightfit.plan.__main__ import main as plan


def lines(axes: Axes) -> dict[str, tuple[str, str]]:
    return {str(line.get_label()): (to_hex(line.get_color()), line.get_linestyle()) for line in axes.get_lines()}


def test_a_method_looks_the_same_in_every_figure() -> None:
    recorded = load_results("on_device_mezo/fine_tuning").of_profile("paper")
    trained = lines(fine_tuning_by_seconds(recorded).axes[0])
    planned = lines(memory_by_context(load_plan(FIG3)).axes[0])
    points = predicted_against_measured(load_results("memory_grid/grid").runs).axes[0].collections
    grid = {str(group.get_label()): to_hex(group.get_facecolor()[0]) for group in points}
    for row in ("bp_adam", "bp_adam_checkpointed"):
        title, color, dash = method(row).title, to_hex(method(row).color), method(row).dash
        assert (trained[title], planned[title], grid[title]) == ((color, dash), (color, dash), color)


def test_variants_of_a_family_share_its_colour_and_differ_in_dash_or_marker() -> None:
    kept, again = method("bp_adam"), method("bp_adam_checkpointed")
    assert (kept.color, kept.dash) == (again.color, "-")
    assert (again.dash, again.marker) == ("--", "^")
    assert method("elastic_zo_1").color == method("cls2").color  # both: one layer by backpropagation
    assert (
        len({METHODS[row].color for row in ("mezo", "mezo_lora", "cls2", "cls1", "bp_sgd", "bp_adam", "bp_lora")}) == 7
    )


def test_kinds_of_bytes_have_the_same_colours_in_the_planners_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    assert plan(["model=lenet5", "optimizer=bp_adam", "picture=plan.png"]) == 0
    bars = drawn[0].axes[0].containers
    assert len(bars) > 3
    for kind in bars:
        assert to_hex(kind[0].get_facecolor()) == KIND_COLORS[str(kind.get_label()).replace(" ", "_")]
