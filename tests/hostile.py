"""Texts that must be shown as text wherever they turn up: one list for every test."""

from __future__ import annotations

HOSTILE: tuple[str, ...] = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]>&lt;&#60;",
    "'\"`\\",
    "javascript:alert(1)",
    "$x_{$",
    "$\\frac{1}{0}$ %s %(a)s {0}",
    "[/foo][bold red]",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\x00\x07\x1b[31mred\x7f\x9b",
    "😀 👩\u200d👩\u200d👧 🇮🇹",
    "שלום مرحبا",
    "\u202eevil\u202c \u2066x\u2069\u200f",
    "a\u2028b\u2029c\ufeff\u200b",
    "\ud83d",
    "\ufffe\uffff",
    "\u0301combining",
    " leading and trailing ",
    "日本語",
    "long " * 400,
    "",
)
