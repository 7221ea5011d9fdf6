"""Live views that run a model: heads chosen in the plane, and circuitsvis' attention."""

from __future__ import annotations

import re

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

from tests.browser.notebooks import open_notebook, run_one
from tests.browser.pages import contrast

HOSTILE = "<img src=x onerror=alert(1)> </script><script>alert(2)</script> '\\\"` \u2028 "
CELLS = [
    """
import factviz as fv

model = fv.load_model()
w = fv.explore_heads(model, fv.FactSet.builtin()[::200])
w
""",
    "print(w.selection['key'], w.result.layer, w.result.head, w.result.dataset.sizes['fact'] > 9)",
    'w.selection = {"key": {"layer": 99, "head": 1}}',
    f"""
prompt = {HOSTILE!r} + "The Colosseum is in the country of"
fact = fv.Fact(prompt, subject="The Colosseum", answer="Italy")
fv.show_attention(model, fact, 3)
""",
    "fv.show_attention(model, fact, 3, 4)",
]
OUTPUT = ".jp-OutputArea-output"


def _notebook(path) -> None:
    cells = [new_code_cell(text.strip()) for text in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


def test_choosing_a_head_shows_its_profile_and_leaves_the_plane(lab, open_page, keep_screenshot):
    _notebook(lab.folder / "heads.ipynb")
    with open_page(viewport={"width": 1400, "height": 1500}) as visit:
        page = visit.page
        open_notebook(page, lab, "heads.ipynb")
        bundle = run_one(page, 0)["outputs"][-1]["data"]
        assert "run this cell again" in str(bundle["text/plain"]).lower()
        upper, lower = (page.locator(f"{OUTPUT} .factviz").nth(i) for i in range(2))
        expect(lower.get_by_role("heading", level=3)).to_have_text("Choose a head in the plane")

        slider = upper.get_by_role("slider", name="threshold")
        slider.focus()
        for _ in range(52):  # steps of the slider from 10 to 3
            page.keyboard.press("ArrowLeft")
        upper.get_by_role("combobox", name="relation").select_option(index=1)
        point = upper.get_by_role("button", name=re.compile("^L2H5"))
        point.focus()
        page.keyboard.press("Enter")
        expect(lower.get_by_role("heading", level=3)).to_contain_text("L2H5")
        expect(lower.locator(".fv-bars").nth(2)).to_be_visible()
        expect(point).to_be_focused()
        told = str(run_one(page, 1)["outputs"][0]["text"]).strip()
        assert told == "{'layer': 2, 'head': 5} 2 5 True"
        # What was set in the plane is still as it was.
        assert slider.evaluate("element => element.ariaValueText") == "3"
        relation = upper.get_by_role("combobox", name="relation")
        assert relation.evaluate("element => element.selectedIndex") == 1
        assert point.get_attribute("aria-pressed") == "true"
        assert point.get_attribute("tabindex") == "0"
        keep_screenshot(page, "head-explorer")

        upper.get_by_role("button", name=re.compile("^L3H1")).dispatch_event("click")
        expect(lower.get_by_role("heading", level=3)).to_contain_text("L3H1")

        run_one(page, 2)
        alert = page.get_by_role("alert").filter(has_text="L99H1 does not exist")
        alert.wait_for()
        expect(lower.get_by_role("heading", level=3)).to_have_text("No profile")
        assert visit.complaints == []


def test_attention_is_drawn_from_what_is_installed_and_text_stays_text(
    lab, open_page, keep_screenshot
):
    _notebook(lab.folder / "attention.ipynb")
    with open_page(viewport={"width": 1400, "height": 1500}) as visit:
        page = visit.page
        open_notebook(page, lab, "attention.ipynb", theme="Dark")
        run_one(page, 0)
        bundle = run_one(page, 3)["outputs"][-1]["data"]
        assert "text/html" not in bundle
        assert "Layer 3: what each token attends to" in str(bundle["text/plain"])
        shown = page.get_by_role("img", name=re.compile("^Layer 3: what each token"))
        expect(shown.locator("canvas")).to_have_count(9)  # eight heads, and the chosen one again
        expect(shown.get_by_role("heading", name="L3H0", exact=True).last).to_be_visible()
        assert "<img src=x onerror=alert(1)> </script>" in shown.get_attribute("aria-label")
        painted = """
          canvas => canvas.width > 0 && canvas.getContext("2d")
            .getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value)
        """
        assert all(canvas.evaluate(painted) for canvas in shown.locator("canvas").all())
        caption = page.locator("p", has_text="Layer 3: what each token")
        assert contrast(caption) >= 4.5
        keep_screenshot(page, "attention")

        run_one(page, 4)
        alone = page.get_by_role("img", name=re.compile("^L3H4: what each token"))
        expect(alone.locator("canvas")).to_have_count(1)
        keep_screenshot(page, "attention-head")

        page.wait_for_timeout(300)  # an image that fails to load would have called alert by now
        assert page.locator("img[src=x], img[onerror]").count() == 0
        assert [line for line in visit.complaints if "factviz" in line or "Circuits" in line] == []
        assert visit.complaints == []
