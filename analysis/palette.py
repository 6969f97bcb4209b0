"""One colour for a family of methods, one dash and one marker for a variant of it: the same in every figure."""

from __future__ import annotations

import colorsys
from typing import Literal

Family = Literal[
    "none",
    "zeroth_order",
    "zeroth_order_low_rank",
    "hybrid_one_layer",
    "hybrid_two_layers",
    "backprop",
    "backprop_adam",
    "backprop_low_rank",
]
Variant = Literal["plain", "checkpointed", "sampled", "rounded", "int8", "reference"]

GREY, PAPER, INK = "#666666", "#ffffff", "#000000"
DARKEST, LIGHTEST = 0.09, 0.94  # what white and black become on a dark page
# Okabe and Ito's, dark enough for text on white.
COLORS: dict[Family, str] = {
    "none": "#777777",
    "zeroth_order": "#D55E00",
    "zeroth_order_low_rank": "#B87A00",
    "hybrid_one_layer": "#B0518A",
    "hybrid_two_layers": "#009E73",
    "backprop": "#0072B2",
    "backprop_adam": "#333333",
    "backprop_low_rank": "#3A8FC2",
}
DASHES: dict[Variant, str] = {"checkpointed": "--"}
MARKERS: dict[Variant, str] = {"checkpointed": "^", "sampled": "P", "rounded": "v", "int8": "s", "reference": "D"}
SCALE = ("#CC8A1A", "#A66E00", "#7D5300", "#553800", "#2B1C00")
KIND_COLORS = {  # of bytes
    "parameters": "#5b6770",
    "activations": "#9ec3e6",
    "gradients": "#e8b33f",
    "errors": "#d07a55",
    "optimizer_state": "#a58bc0",
}
PHASE_COLORS = {
    "forward": "#9ec3e6",
    "backward": "#e8b33f",
    "perturb": "#a58bc0",
    "update": "#d07a55",
    "perturb_and_update": "#bc838b",  # where the two are only known together
    "other": "#c9ced2",
}


def look(family: Family, variant: Variant = "plain") -> tuple[str, str, str]:
    """Colour, dash and marker of a variant of a family."""
    return COLORS[family], DASHES.get(variant, "-"), MARKERS.get(variant, "o")


def on_dark(color: str) -> str:
    """`color` with its lightness turned round: what is dark on white is light on a dark page, of the same hue."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    turned = DARKEST + (LIGHTEST - DARKEST) * (1 - lightness)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, turned, saturation))


def shade(step: int, steps: int) -> str:
    """A colour of a scale from light to dark, for the values of one setting of one method."""
    return SCALE[round(step * (len(SCALE) - 1) / max(steps - 1, 1))]
