from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

import factviz  # noqa: F401 - registers the views
from factviz.facts.errors import FactvizError
from factviz.results.options import options
from factviz.results.shown import shown
from factviz.views import bundle, html, presenter
from tests import factories, parsed
from tests.hostile import HOSTILE


def saved(result, tmp_path) -> str:
    return result.save(tmp_path / "x.html").read_bytes().decode("utf-8")


def policy(page: parsed.Page) -> dict[str, str]:
    (meta,) = [
        e for e in page.all("meta") if e.attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = [rule.strip().split(" ", 1) for rule in meta.attrs["content"].split(";")]
    return dict(rules)


def test_the_page_lets_only_its_own_script_run(tmp_path):
    page = parsed.page(saved(factories.attribution(), tmp_path))
    (script,) = page.all("script", type="module")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert policy(page) == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    tags = [e.tag for e in page.elements]
    order = [e.attrs.get("http-equiv") for e in page.elements]
    assert order.index("Content-Security-Policy") < tags.index("style") < tags.index("script")
    assert {e.attrs["type"] for e in page.all("script")} == {"module", "application/json"}


def test_the_page_has_its_language_viewport_and_themes(tmp_path):
    text = saved(factories.attribution(), tmp_path)
    page = parsed.page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.all("html")[0].attrs["lang"] == "en"
    assert page.elements[2].attrs == {"charset": "utf-8"}
    assert page.all("meta", name="viewport") and page.all("meta", name="color-scheme")
    assert page.all("title")[0].text == "Fact: The Colosseum is in the country of → Italy"
    assert not any(name.startswith("on") for e in page.elements for name in e.attrs)


def test_the_page_fetches_nothing(tmp_path):
    for result in (factories.attribution(), factories.hostile(HOSTILE)):
        page = parsed.page(saved(result, tmp_path))
        assert parsed.fetched(page) == []
        assert not page.all("link") and not page.all("base") and not page.all("iframe")


def test_one_heatmap_is_small(tmp_path):
    one = factories.attribution(words=(("Italy",),), roles=(("answer",),))
    assert len(saved(one, tmp_path).encode()) - len(bundle.source()) < 70_000


def test_the_bundle_knows_its_own_name(monkeypatch):
    monkeypatch.setattr(bundle, "_committed", lambda: f"mount('{bundle.PLACEHOLDER}')")
    name = hashlib.sha256(b"mount('__FACTVIZ_BUNDLE__')").hexdigest()[:16]
    assert bundle.source() == f"mount('{name}')"
    page = parsed.page(html.fragment(presenter.build(factories.attribution())))
    assert page.all("div", class_="factviz")[0].attrs["data-bundle"] == name
    assert page.all("script", type="module")[0].text == f"mount('{name}')"


@pytest.mark.parametrize("text", ["</script>", "</SCRIPT >", "<!-- x", "a\rb"])
def test_a_bundle_that_would_end_its_element_is_refused(monkeypatch, text):
    monkeypatch.setattr(bundle, "_committed", lambda: text)
    with pytest.raises(FactvizError, match="script element"):
        bundle.source()


def test_the_committed_bundle_is_there_and_holds_the_placeholder():
    assert bundle.PLACEHOLDER in bundle._committed()
    assert bundle.PLACEHOLDER not in bundle.source()


def test_the_fragment_has_the_figure_but_not_the_result():
    bundle_ = factories.attribution()._repr_mimebundle_()
    assert set(bundle_) == {"text/plain", "text/html"}
    page = parsed.page(bundle_["text/html"])
    kinds = [e.attrs.get("type") for e in page.all("script")]
    assert kinds == ["application/json", "module"]
    figure = json.loads(page.all("script")[0].text)
    assert set(figure) == {"spec", "arrays", "buffer"}
    static = page.all("div", class_="factviz-static")[0]
    assert "L3H4" in static.text and "28 more heads" in static.text
    assert not any("id" in e.attrs for e in page.elements)


def test_display_options_choose_what_is_shown():
    result = factories.attribution()
    with options(display="table"):
        table = result._repr_mimebundle_()
    assert not parsed.page(table["text/html"]).all("script")
    with options(display="png"):
        png = result._repr_mimebundle_()
    assert set(png) == {"text/plain", "image/png"}
    assert png["image/png"].startswith(b"\x89PNG")


def test_include_and_exclude():
    result = factories.attribution()
    assert set(result._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(result._repr_mimebundle_(exclude=["text/plain"])) == {"text/html"}


@pytest.mark.parametrize("make", ["page", "fragment"])
def test_hostile_text_stays_text(tmp_path, make):
    result = factories.hostile(HOSTILE)
    text = saved(result, tmp_path) if make == "page" else result._repr_mimebundle_()["text/html"]
    page = parsed.page(text)
    assert "img" not in page.tags()
    assert len(page.all("script")) == (3 if make == "page" else 2)
    assert not any(name.startswith("on") for e in page.elements for name in e.attrs)
    assert shown(HOSTILE[0]) in [e.text for e in page.all("bdi")]
    raw = re.sub(r"<script type=\"module\">.*?</script>", "", text, flags=re.S)
    assert not re.search(
        "[\u202a-\u202e\u2066-\u2069\u2028\u2029\x00-\x08\x0e-\x1f\x7f\ufeff]", raw
    )


def test_every_hostile_token_is_shown_whole_in_a_title():
    page = parsed.page(presenter.mimebundle(factories.hostile(HOSTILE))["text/html"])
    hints = {e.attrs.get("title", "").split(": ", 1)[-1] for e in page.all("th", scope="col")}
    assert "</script><script>alert(1)</script>" in hints
    assert "<img·src=x·onerror=alert(1)>" in hints
