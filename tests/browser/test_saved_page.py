"""The saved page, opened from the disk of somebody who has neither Python nor a network."""

from __future__ import annotations

import random

import factviz as fv
from tests import factories
from tests.hostile import HOSTILE
from tests.views import class_rule_cases

VIOLATIONS = """
() => {
  window.violations = [];
  document.addEventListener("securitypolicyviolation",
    (event) => window.violations.push(event.effectiveDirective));
}
"""
# Each of these would set window.evil or reach out, if the page's policy let it.
ATTACKS = """
() => {
  const script = document.createElement("script");
  script.textContent = "window.evil = 1";
  const image = document.createElement("img");
  image.src = "https://example.invalid/pixel.png";
  const handler = document.createElement("div");
  handler.setAttribute("onclick", "window.evil = 2");
  document.body.append(script, image, handler);
  handler.click();
  fetch("https://example.invalid/").catch(() => {});
  setTimeout(() => { window.attacked = true; }, 300);
}
"""


def test_saved_page_is_live_and_lets_nothing_else_run(
    open_page, executed, keep_screenshot, tmp_path
):
    saved = executed / "colosseum.html"
    with open_page(viewport={"width": 1300, "height": 1000}, offline=True) as visit:
        page = visit.page
        page.goto(saved.as_uri())
        figure = page.locator('.factviz[data-live="true"]')
        row = figure.locator("[role=row][data-row]").first
        row.get_by_role("gridcell").first.click()
        name = row.get_by_role("rowheader").inner_text()
        assert figure.get_by_role("region", name=name).is_visible()
        assert page.locator(".factviz-static").count() == 0
        keep_screenshot(page, "saved-page")
        assert visit.complaints == []

        page.evaluate(VIOLATIONS)
        page.evaluate(ATTACKS)
        page.wait_for_function("() => window.attacked")
        assert page.evaluate("() => window.evil") is None
        broken = set(page.evaluate("() => window.violations"))
        assert {"script-src-elem", "script-src-attr", "img-src", "connect-src"} <= broken


def test_saved_page_without_scripts_still_shows_the_table(open_page, executed):
    with open_page(java_script_enabled=False) as visit:
        visit.page.goto((executed / "colosseum.html").as_uri())
        table = visit.page.locator(".factviz-static table").first
        assert table.is_visible()
        assert "L" in table.locator("tbody th").first.inner_text()


def test_hostile_text_is_shown_as_text(open_page, tmp_path, keep_screenshot):
    texts = [text for text in HOSTILE if text]
    saved = factories.hostile(texts).save(tmp_path / "hostile.html")
    with open_page(viewport={"width": 1300, "height": 1000}, offline=True) as visit:
        page = visit.page
        page.goto(saved.as_uri())
        figure = page.locator('.factviz[data-live="true"]')
        figure.get_by_role("grid").first.wait_for()
        shown = page.locator("body").inner_text()
        assert "</script><script>alert(1)</script>" in shown
        assert "<img src=x onerror=alert(1)>" in shown
        assert "$x_{$" in shown
        assert "[/foo][bold red]" in shown
        assert "\u202e" not in shown  # a bidirectional override is named, not obeyed
        assert "U+202E" in shown
        assert page.locator("img[onerror], b:has-text('evil')").count() == 0
        assert visit.complaints == []
        keep_screenshot(page, "hostile")


def test_hostile_prompt_through_the_model(open_page, mini, tmp_path):
    prompt = "<img src=x onerror=alert(1)> </script> \u202e The Colosseum is in the country of"
    fact = fv.Fact(prompt, subject="The Colosseum", answer="Italy")
    saved = fv.attribute_logits(fv.trace(mini, fact)).save(
        tmp_path / "</title><b>.html".replace("/", "")
    )
    with open_page(offline=True) as visit:
        visit.page.goto(saved.as_uri())
        figure = visit.page.locator('.factviz[data-live="true"]')
        assert "<img src=x onerror=alert(1)> </script>" in figure.inner_text()
        assert visit.complaints == []


def test_the_threshold_of_head_classes_moves_by_keyboard(open_page, tmp_path, keep_screenshot):
    made = class_rule_cases.result(random.Random(0))
    saved = made.save(tmp_path / "classes.html")
    with open_page(viewport={"width": 700, "height": 900}, offline=True) as visit:
        page = visit.page
        page.goto(saved.as_uri())
        slider = page.get_by_role("slider", name="threshold")
        slider.focus()
        for _ in range(52):  # steps of the slider from 10 to 3
            page.keyboard.press("ArrowLeft")
        assert slider.evaluate("element => element.ariaValueText") == "3"
        page.get_by_role("combobox", name="relation").select_option("sport")
        shares = made.at(3).shares()
        rows = shares[shares["relation"] == "sport"]
        wanted = [f"{row['class']}: {row['heads']}" for row in rows.to_dict("records")]
        assert page.locator(".fv-bars").first.locator(".fv-label").all_inner_texts()[:5] == wanted
        assert visit.complaints == []
        keep_screenshot(page, "head-classes")
