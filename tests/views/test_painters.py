from __future__ import annotations

import io
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure as MplFigure
from PIL import Image

import factviz  # noqa: F401 - registers the views
from factviz.results.shown import shown
from factviz.views.painters import files
from factviz.views.painters.text import Writer, drawable
from factviz.views.presenter import build
from factviz.views.spec import FigureBuilder
from tests import factories, parsed
from tests.hostile import HOSTILE
from tests.views.marks import four_marks


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_each_mark_is_painted():
    texts = parsed.svg_texts(parsed.svg(files.render(four_marks(), "svg")))
    said = "\n".join(texts)
    for words in (
        "Four marks",
        "made up",
        "Heads × tokens: Italy",
        "20 more heads",
        "all 40 heads",
    ):
        assert words in said
    for words in ("·Col", "a long name", "Effects", "Knockout", "percent", "S  subject", "_other"):
        assert words in said
    for words in ("from subject (logits)", "M  mixed", "no class", "Caption.", "A note."):
        assert words in said


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_same_figure_gives_the_same_bytes(kind):
    assert files.render(four_marks(), kind) == files.render(four_marks(), kind)


def test_an_svg_names_no_address_and_no_date():
    text = files.render(build(factories.attribution()), "svg").decode()
    root = parsed.svg(text.encode())
    assert "<dc:date>" not in text and "matplotlib.org" not in text
    assert root.find("{http://www.w3.org/2000/svg}title").text.startswith("Fact: The Colosseum")


def test_svg_text_is_text():
    texts = parsed.svg_texts(parsed.svg(files.render(build(factories.attribution()), "svg")))
    assert "L3H4" in texts and "osse" in texts and "·Col" in texts and "2.25" in texts


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text_in_svg(text):
    root = parsed.svg(files.render(four_marks(text), "svg"))
    texts = [t.strip() for t in parsed.svg_texts(root)]
    wanted = shown(text, limit=18).replace(" ", "·")
    if text and len(text) < 19:
        assert wanted in texts


@pytest.mark.parametrize("kind", ["png", "pdf"])
@pytest.mark.parametrize("turn", range(3))
def test_hostile_text_does_not_break_files(kind, turn):
    content = files.render(four_marks(*HOSTILE[turn::3]), kind)
    if kind == "png":
        image = Image.open(io.BytesIO(content))
        image.load()
        assert image.width < 6000 and image.height < 6000
    else:
        assert content.startswith(b"%PDF")


def test_a_png_is_different_when_a_value_is():
    one, other = factories.attribution(), factories.attribution()
    other.dataset["heads"].values[0, 0, 3, 4, 5] *= -1
    assert files.render(build(one), "png") != files.render(build(other), "png")


def test_the_largest_value_has_the_full_colour():
    content = files.render(build(factories.attribution()), "png")
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).reshape(-1, 3)
    full = np.round(0.7 * np.array([228, 104, 0]) + 0.3 * 255)
    assert (np.abs(pixels.astype(int) - full).max(axis=1) <= 1).sum() > 1000
    assert tuple(pixels[0]) == (255, 255, 255)


def test_what_no_font_draws_is_named():
    assert drawable("a\U0010fffdb") == "a‹U+10FFFD›b"
    assert drawable("␀") in ("␀", "‹U+0000›")
    assert Writer(viewer_fonts=True).text("\U0010fffd") == "\U0010fffd"
    assert len(Writer().token("\U0010fffd" * 30, 18)) <= 18


def test_users_styles_do_not_leak_into_files():
    plain = files.render(four_marks(), "png")
    with mpl.rc_context(
        {"text.color": "red", "axes.facecolor": "black", "savefig.facecolor": "blue"}
    ):
        assert files.render(four_marks(), "png") == plain


def test_plot_draws_on_the_axes_given():
    drawn = MplFigure()
    ax = drawn.add_subplot()
    assert factories.attribution().plot(ax) is ax
    assert ax.get_yticklabels()[0].get_text() == "L3H4"
    drawn.savefig(io.BytesIO(), format="png")


def test_plot_makes_its_own_figure_and_no_pyplot():
    code = (
        "import sys; from tests import factories; import factviz;"
        "ax = factories.attribution().plot(); ax.figure.savefig('/dev/null', format='png');"
        "factories.attribution()._repr_mimebundle_();"
        "print([m for m in ('matplotlib.pyplot', 'torch') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "[]"


def test_showing_needs_no_matplotlib():
    code = (
        "import sys; from tests import factories; import factviz;"
        "r = factories.attribution(); r._repr_mimebundle_(); repr(r);"
        "print('matplotlib' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "False"


def test_512_tokens_and_1024_heads_are_still_a_figure():
    tokens = tuple(f" t{i}" for i in range(512))
    result = factories.attribution(
        (tokens,), (("subject",) * 512,), (("a",),), (("answer",),), layers=32, heads=32
    )
    content = files.render(build(result.view(top=0)), "svg")
    texts = parsed.svg_texts(parsed.svg(content))
    assert "464 other tokens" in texts and "964 more heads" in texts
    assert len(content) < 1_000_000


def test_labels_of_points_do_not_cover_one_another():
    builder = FigureBuilder("Points", "", "")
    x, y = np.array([1.0, 1.0, 1.001, 0.1]), np.array([1.0, 1.0, 1.001, np.nan])
    axes = [{"title": name, "unit": "", "values": values} for name, values in (("x", x), ("y", y))]
    panel = builder.points(*axes, ["one", "two", "three", "nowhere"], title="Near")
    ax = files.plot(builder.figure([[panel]]))
    assert [text.get_text() for text in ax.texts] == ["three"]
    far = builder.points(
        {"title": "x", "unit": "", "values": np.arange(4.0)},
        {"title": "y", "unit": "", "values": np.arange(4.0)},
        ["one", "two", "three", "four"],
        title="Far",
    )
    ax = files.plot(builder.figure([[far]]))
    assert sorted(text.get_text() for text in ax.texts) == ["four", "one", "three", "two"]


def test_the_footer_names_what_is_shown_and_what_is_left_out():
    builder = FigureBuilder("Notes", "", "Caption.")
    builder.note(*(f"note {i}" for i in range(9)))
    panel = builder.bars(["a"], np.array([1.0]), title="Bars", unit="logits")
    figure = builder.figure([[panel], [panel]], {"label": "layer", "options": ["MLP 3", "MLP 1"]})
    said = "\n".join(parsed.svg_texts(parsed.svg(files.render(figure, "svg"))))
    assert "layer 1 of 2: MLP 3" in said
    assert "note 5" in said and "note 6" not in said and "3 more notes: see the saved page." in said
