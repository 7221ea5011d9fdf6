"""The command line: one fact, one model, one file or table.

Nothing heavy is imported before the arguments have been read, so that ``--help`` and a mistyped
option answer at once. Bad input ends with exit code 2 and one line on stderr. Everything shown may
come from a stranger's prompt or file name, so it is printed as plain text without control
characters, never as rich's markup.
"""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

import factviz
from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.results.shown import shown

if TYPE_CHECKING:
    from factviz.results.attribution import Attribution

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130

app = typer.Typer(
    name="factviz",
    help="See where a language model's factual answer comes from.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Progress:
    """Steps on stderr: a spinner on a terminal; elsewhere what was done, once all went well.

    Keeping the lines back means that a run that fails says one thing only: why.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.done: list[str] = []

    @contextmanager
    def step(self, text: str) -> Generator[None]:
        """Say what is going on while the block runs."""
        started = time.perf_counter()
        with self.console.status(Text(shown(f"{text} …"))):
            yield
        self.done.append(f"{text}: {time.perf_counter() - started:.1f} s")

    def report(self, notes: Sequence[str]) -> None:
        """Print the finished steps and what a user should know about the result."""
        for line in [*self.done, *(f"note: {note}" for note in notes)]:
            say(self.console, line)


def say(console: Console, line: str) -> None:
    """Print one line as it is: no markup, no wrapping, nothing that moves the cursor."""
    console.print(Text(shown(" ".join(line.splitlines()))), soft_wrap=True)


@app.callback(invoke_without_command=True)
def factviz_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """See where a language model's factual answer comes from."""
    if version:
        typer.echo(f"factviz {factviz.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def attribute(
    prompt: Annotated[str, typer.Argument(help="The prompt, up to where the answer is due.")],
    *,
    subject: Annotated[str, typer.Option(help="What the fact is about, as the prompt spells it.")],
    answer: Annotated[str, typer.Option(help="The answer to explain.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .html .svg .png .pdf .csv .parquet. Without: a table."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="'mini' (built in), a name on the Hugging Face Hub, or a folder.")
    ] = "mini",
    attribute: Annotated[
        list[str] | None, typer.Option(help="Another word to compare; may be repeated.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Heads to show; 0 shows all.")] = 20,
    subject_start: Annotated[
        int | None,
        typer.Option(help="Character at which the subject begins, if it is there twice."),
    ] = None,
    keep_trailing_space: Annotated[
        bool, typer.Option("--keep-trailing-space", help="Do not trim the prompt's last space.")
    ] = False,
) -> None:
    """Which heads and which tokens the answer to PROMPT came from."""
    if out is not None:
        check_target(out)
    progress = Progress()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FactvizWarning)
        fact = factviz.Fact(
            prompt,
            subject=subject,
            answer=answer,
            subject_start=subject_start,
            keep_trailing_space=keep_trailing_space,
        )
        with progress.step(f"Loading {model}"):
            loaded = factviz.load_model(model)
        words = [answer, *attribute] if attribute else None
        with progress.step("Attributing the answer"):
            result = factviz.attribute_logits(factviz.trace(loaded, fact), words).view(top=top)
        if out is not None:
            with progress.step(f"Writing {out}"):
                result.save(out)
    told = [str(warning.message) for warning in caught if warning.category is FactvizWarning]
    notes = dict.fromkeys([*told, *result.provenance.get("notes", [])])
    progress.report([_as_options(note) for note in notes])
    if out is None:
        print_table(result, top)


def _as_options(note: str) -> str:
    """A note that names Python's arguments, with the program's options in their place."""
    options = {
        "keep_trailing_space=True": "--keep-trailing-space",
        "subject_start=": "--subject-start",
    }
    for argument, option in options.items():
        note = note.replace(f"({argument}", f"({option}")
    return note


def check_target(out: Path) -> None:
    """Refuse a file that could not be written before the model is loaded, not after.

    Raises
    ------
    FactvizError
        If the suffix is unknown, the folder is missing, or something there may not be written.
    """
    from factviz.results.base import PICTURES, TABLES
    from factviz.results.files import checked_suffix, checked_target

    checked_suffix(out, (*PICTURES, *TABLES))
    checked_target(out)


def print_table(result: Attribution, top: int) -> None:
    """The result on stdout: its summary, then one row per head."""
    from rich.table import Table

    from factviz.results.shown import number, token_text

    console = Console(highlight=False)
    for line in repr(result).splitlines():
        say(console, line)
    words = [str(word) for word in result.dataset["attribute_word"].values[0]]
    tokens = [str(token) for token in result.dataset["token"].values[0]]
    table = Table("head", box=None, header_style="bold", pad_edge=False)
    for word in words:
        table.add_column(Text(token_text(word, limit=24)), justify="right")
    table.add_column("reads most from", overflow="fold")
    heads = result.heads.values.astype(float)  # [attribute, layer, head, source]
    totals = heads.sum(-1).reshape(len(words), -1)  # [attribute, head]
    for head in (-abs(totals[0])).argsort(kind="stable")[: top or None]:
        layer, index = divmod(int(head), heads.shape[2])
        source = int(abs(heads[0, layer, index]).argmax())
        values = [number(float(value), sign=True) for value in totals[:, head]]
        table.add_row(
            f"L{layer}H{index}",
            *values,
            Text(f"{token_text(tokens[source], limit=40)} ({source})"),
        )
    console.print(table)


def _fail(message: str) -> int:
    say(Console(stderr=True, highlight=False), f"factviz: {message}")
    return BAD_INPUT


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        What stands after the program's name; the process's own without it.

    Returns
    -------
    int
        The exit code: 0, 1 if the output cannot be written, 2 for bad input, 130 for an interrupt.
    """
    # Their advice on model files would drown the one line that matters; read on their import.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        code = app(list(arguments) if arguments is not None else None, standalone_mode=False)
    except FactvizError as error:
        return _fail(str(error))
    except typer.TyperException as error:
        return _fail(f"{error.format_message()} (factviz --help says more)")
    except typer.Abort:
        code = INTERRUPTED
    except OSError as error:  # a full disk behind stdout, a reader that has gone
        # What is still in the buffer cannot be written either; Python would try it at exit.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        _fail(f"cannot write the output: {error.strerror or error}")
        return FAILED
    if code == INTERRUPTED:  # what typer makes of Ctrl+C
        _fail("interrupted")
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the ``factviz`` program."""
    # A terminal that cannot show a token's characters gets "?" for them, not a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(run())
