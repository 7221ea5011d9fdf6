from __future__ import annotations

import re

import pytest

from factviz.views import colours

# black text at .87 as JupyterLab has it, white text on its dark ground
THEMES = [
    ((33, 33, 33), (255, 255, 255)),
    ((255, 255, 255), (17, 17, 17)),
    ((0, 0, 0), (255, 255, 255)),
]


def _luminance(rgb):
    parts = [c / 255 for c in rgb]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def over(hue, opacity, ground):
    return tuple(opacity * h + (1 - opacity) * g for h, g in zip(hue, ground, strict=True))


@pytest.mark.parametrize(("text", "ground"), THEMES)
@pytest.mark.parametrize("value", [1.0, -1.0])
def test_text_keeps_its_contrast_on_every_colour(text, ground, value):
    for step in range(11):
        opacity = colours.opacity(value * step, 10)
        assert contrast(text, over(colours.hue(value), opacity, ground)) >= 4.5


# Viénot, Brettel and Mollon (1999), for linear RGB.
DEFICIENCIES = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.1124, 0.8876, 0), (0.1124, 0.8876, 0), (0.0040, -0.0040, 1)),
    "deutan": ((0.2927, 0.7073, 0), (0.2927, 0.7073, 0), (-0.0223, 0.0223, 1)),
}


@pytest.mark.parametrize("name", DEFICIENCIES)
def test_the_signs_stay_apart(name):
    def seen(rgb):
        linear = [(c / 255) ** 2.2 for c in rgb]
        turned = [
            sum(m * c for m, c in zip(row, linear, strict=True)) for row in DEFICIENCIES[name]
        ]
        return [255 * max(0, c) ** (1 / 2.2) for c in turned]

    for ground in ((255, 255, 255), (17, 17, 17)):
        up, down = (seen(over(colours.hue(v), 0.7, ground)) for v in (1, -1))
        assert sum((a - b) ** 2 for a, b in zip(up, down, strict=True)) ** 0.5 > 80


def test_zero_is_the_background_and_opacity_stops():
    assert colours.opacity(0.0, 1.0) == 0
    assert colours.opacity(5.0, 1.0) == colours.COLOURS["max_opacity"] == 0.7
    assert colours.opacity(float("nan"), 1.0) == 0
    assert colours.opacity(1.0, 0.0) == 0


@pytest.mark.parametrize("value", [-1.0, -0.431, 0.001, 0.5, 1.0])
def test_css_is_what_the_sanitiser_keeps(value):
    # JupyterLab's number_zero_one: a leading digit, no exponent
    assert re.fullmatch(
        r"rgba\(\d{1,3},\d{1,3},\d{1,3},(1(\.0+)?|0(\.[0-9]+)?)\)", colours.css(value, 1.0)
    )
