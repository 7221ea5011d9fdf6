"""What a browser would make of HTML or SVG, so that tests ask about elements and not substrings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta", "img", "br", "hr", "input", "link"}
FETCHING = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background", "ping"}


@dataclass
class Element:
    tag: str
    attrs: dict[str, str | None]
    inside: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), tuple(e.tag for e in self._open))
        assert len(attrs) == len(element.attrs), f"an attribute twice in {attrs}"
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open and self._open[-1].tag == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attrs: str) -> list[Element]:
        wanted = {name.rstrip("_"): value for name, value in attrs.items()}
        return [
            e
            for e in self.elements
            if e.tag == tag and all(e.attrs.get(name) == value for name, value in wanted.items())
        ]

    def tags(self) -> set[str]:
        return {element.tag for element in self.elements}

    def visible(self) -> str:
        shown = [e.text for e in self.elements if e.tag in ("bdi", "td", "th", "p", "title")]
        return "\n".join(shown)


def page(text: str) -> Page:
    found = Page()
    found.feed(text)
    found.close()
    assert not found._open, f"left open: {[e.tag for e in found._open]}"
    return found


def fetched(found: Page) -> list[str]:
    """Addresses that a browser would ask for."""
    urls = [
        str(value)
        for element in found.elements
        for name, value in element.attrs.items()
        if name in FETCHING
    ]
    for element in found.elements:
        styles = (element.attrs.get("style") or "") + (
            element.text if element.tag == "style" else ""
        )
        urls += re.findall(r"url\(|@import", styles)
    return [url for url in urls if not url.startswith("data:")]


def svg(content: bytes) -> ElementTree.Element:
    """The root of an SVG that is well-formed XML and asks for nothing."""
    root = ElementTree.fromstring(content)
    for element in root.iter():
        assert not element.tag.endswith("}script")
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on"), (element.tag, name)
            if name.endswith("href"):
                assert value.startswith(("#", "data:")), value
    return root


def svg_texts(root: ElementTree.Element) -> list[str]:
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
