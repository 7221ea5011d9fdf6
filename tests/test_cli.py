"""The command line: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

import factviz
from factviz import cli
from tests.hostile import HOSTILE

PROMPT = "Fact: The Colosseum is in the country of"
FACT = [PROMPT, "--subject", "The Colosseum", "--answer", "Italy"]
STARTS = {
    ".html": b"<!DOCTYPE html>",
    ".svg": b"<?xml",
    ".png": b"\x89PNG",
    ".pdf": b"%PDF",
    ".csv": b"fact,",
    ".parquet": b"PAR1",
}


@pytest.mark.parametrize("suffix", STARTS)
def test_every_suffix_is_written(suffix: str, tmp_path: Path, capsys):
    out = tmp_path / f"colosseum{suffix}"
    assert cli.run(["attribute", *FACT, "--out", str(out)]) == 0
    assert out.read_bytes().startswith(STARTS[suffix])
    said = capsys.readouterr()
    assert said.out == ""
    for step in ("Loading mini", "Attributing", "Writing"):
        assert step in said.err


def test_saved_page_holds_the_same_numbers(tmp_path: Path, mini):
    out = tmp_path / "colosseum.html"
    assert cli.run(["attribute", *FACT, "--out", str(out)]) == 0
    fact = factviz.Fact(PROMPT, subject="The Colosseum", answer="Italy")
    here = factviz.attribute_logits(factviz.trace(mini, fact))
    opened = factviz.open_result(out)
    pd.testing.assert_frame_equal(opened.to_frame(), here.to_frame(), rtol=1e-4, atol=1e-5)


def test_without_a_file_it_prints_the_strongest_heads(capsys, mini):
    assert cli.run(["attribute", *FACT, "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith("L")]
    fact = factviz.Fact(PROMPT, subject="The Colosseum", answer="Italy")
    totals = factviz.attribute_logits(factviz.trace(mini, fact)).heads.sum(("source", "attribute"))
    best = abs(totals).stack(z=("layer", "head")).sortby(lambda a: -a)[:3]
    assert [row[0] for row in rows] == [f"L{layer}H{head}" for layer, head in best["z"].values]
    strongest = float(totals.values.flat[abs(totals.values).argmax()])
    assert rows[0][1] == f"{strongest:+.2f}".replace("-", "−")


def test_other_attributes_get_a_column_each(capsys):
    assert cli.run(["attribute", *FACT, "--attribute", "France", "--attribute", "Rome"]) == 0
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("head "))
    assert header.split()[:4] == ["head", "Italy", "France", "Rome"]


def test_which_subject_and_the_last_space_can_be_said(capsys):
    twice = ["attribute", "Rome and Rome are in", "--subject", "Rome", "--answer", "Italy"]
    assert cli.run([*twice, "--subject-start", "0"]) == 0
    assert "more than once" not in capsys.readouterr().err
    assert cli.run([*twice, "--subject-start", "1"]) == 2
    assert cli.run(["attribute", PROMPT + " ", *FACT[1:], "--keep-trailing-space"]) == 0
    assert "trimmed" not in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' /dev/full")
def test_output_that_cannot_be_written_is_one_line():
    program = Path(sys.executable).parent / "factviz"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [program, "attribute", *FACT], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("factviz: cannot write the output")


def test_a_trimmed_space_is_said_once_and_on_one_line(capsys):
    assert cli.run(["attribute", PROMPT + " ", *FACT[1:]]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "trimmed" in line]
    assert len(said) == 1 and said[0].startswith("note: the prompt 'Fact: The Colosseum")
    assert "(--keep-trailing-space keeps it)" in said[0]


def test_several_tokens_are_said(capsys):
    arguments = ["Fact: Big Ben is in the country of", "--subject", "Big Ben"]
    assert cli.run(["attribute", *arguments, "--answer", "Great Britain"]) == 0
    assert "first" in capsys.readouterr().err


BAD = {
    "no command": ["nonsense"],
    "no prompt": ["attribute"],
    "no subject": ["attribute", PROMPT, "--answer", "Italy"],
    "unknown option": ["attribute", *FACT, "--nonsense"],
    "subject not there": ["attribute", PROMPT, "--subject", "The Louvre", "--answer", "Paris"],
    "empty prompt": ["attribute", "", "--subject", "The Louvre", "--answer", "Paris"],
    "empty answer": ["attribute", PROMPT, "--subject", "The Colosseum", "--answer", "  "],
    "unknown suffix": ["attribute", *FACT, "--out", "colosseum.txt"],
    "no suffix": ["attribute", *FACT, "--out", "colosseum"],
    "missing folder": ["attribute", *FACT, "--out", "no/such/folder/colosseum.html"],
    "unknown model": ["attribute", *FACT, "--model", "nobody/no-such-model"],
    "no model in folder": ["attribute", *FACT, "--model", "."],
    "negative top": ["attribute", *FACT, "--top", "-1"],
    "top is no number": ["attribute", *FACT, "--top", "many"],
    "too long": ["attribute", "word " * 5000 + PROMPT, *FACT[1:]],
    "markup in the subject": ["attribute", PROMPT, "--subject", "[/foo]", "--answer", "x"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_code_2(arguments, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("factviz: ")
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def _is_shown(text: str) -> bool:
    """Nothing in it moves the cursor, rings, or turns the line around."""
    return not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in text) and not any(
        c in text for c in "\u202e\u2066\u200f"
    )


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_hostile_text_is_printed_as_text(text: str, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prompt = f"{text[:200]} The Colosseum is in the country of"
    arguments = ["attribute", prompt, "--subject", "The Colosseum", "--answer", "Italy"]
    code = cli.run([*arguments, "--top", "1"])
    said = capsys.readouterr()
    assert code in (0, 2)
    lines = (said.out + said.err).split("\n")
    assert all(map(_is_shown, lines))
    quoted = "\\" in text or "'" in text  # repr doubles and escapes these
    if code == 0 and text.isascii() and text.isprintable() and text.strip() and not quoted:
        assert text[:60].strip() in said.out
    cli.run(["attribute", PROMPT, "--subject", text, "--answer", text, "--model", text])
    assert all(map(_is_shown, "".join(capsys.readouterr()).split("\n")))


def test_hostile_file_name(tmp_path: Path, capsys):
    out = tmp_path / "[bold]<b>$x_{$\x1b[31m.html"
    assert cli.run(["attribute", *FACT, "--out", str(out)]) == 0
    assert out.exists()
    said = capsys.readouterr().err
    assert "[bold]<b>$x_{$" in said
    assert all(map(_is_shown, said.split("\n")))


def test_help_and_version_need_no_torch():
    code = (
        "import sys; from factviz import cli;"
        "assert cli.run(['attribute', '--help']) == 0; assert cli.run(['--version']) == 0;"
        "assert cli.run(['attribute', '--nonsense']) == 2;"
        "assert not {'torch', 'pandas', 'xarray'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"factviz {factviz.__version__}" in done.stdout
    assert "--subject" in done.stdout


def test_program_ends_with_its_code(tmp_path: Path):
    program = Path(sys.executable).with_name("factviz")
    arguments = [*FACT, "--out", "colosseum.txt"]
    done = subprocess.run(
        [program, "attribute", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'.txt'" in done.stderr


@pytest.mark.parametrize("blocked", ["folder", "protected", "pipe", "no access"])
def test_a_target_that_cannot_be_written_is_refused_first(blocked, tmp_path, monkeypatch, capsys):
    def loads(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(factviz, "load_model", loads, raising=False)
    out = tmp_path / "x.html"
    if blocked == "folder":
        out.mkdir()
    elif blocked == "protected":
        out.touch(0o444)
    elif blocked == "pipe":
        os.mkfifo(out)
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)  # a superuser may write anywhere
    assert cli.run(["attribute", *FACT, "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("factviz: cannot save to ")


def test_interrupt_is_no_traceback(monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(factviz, "load_model", interrupted, raising=False)
    assert cli.run(["attribute", *FACT]) == 130
    assert capsys.readouterr().err == "factviz: interrupted\n"
