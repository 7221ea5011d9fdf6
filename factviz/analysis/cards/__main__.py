"""Measure an embedded model and write its card: ``python -m factviz.analysis.cards mini``.

With ``--run FOLDER``, once or several times, runs of `factviz.models.mini.train` are compared
first, and the best one is packed into the package: the one with most criteria held on the choosing
half of the subjects; of equals the first.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors.torch import load_file
from tqdm.auto import tqdm

from factviz.analysis.cards.criteria import held
from factviz.analysis.cards.measuring import measure
from factviz.analysis.cards.text import card
from factviz.facts import builtin, experiments
from factviz.models import names
from factviz.models.loading import load_model
from factviz.models.mini.weights import MANIFEST, WEIGHTS, pack

MEASURED, CARD = "measured.json", "CARD.md"
_CHOOSING_SHARE = 0.25


def choose(name: str, runs: list[Path]) -> list[dict[str, Any]]:
    """Compare runs on the choosing half and pack the best one; the figures of each.

    A single run is packed as it is.

    Returns
    -------
    list of dict
        seed, criteria, chosen.
    """
    if len(runs) == 1:
        _ship(name, runs[0])
        return []
    found: list[dict[str, Any]] = []
    for run in tqdm(runs, desc="runs"):
        packed = run / "packed"
        pack(run, packed)
        model = load_model(packed, name=f"{name}, {run.name}")
        figures = measure(model, name, half="choosing", share=_CHOOSING_SHARE)
        state = json.loads((run / "state.json").read_text())
        found.append({"seed": state["seed"], "criteria": figures["criteria"]})
    best = max(range(len(runs)), key=lambda i: held(found[i]["criteria"]))  # of equals the first
    _ship(name, runs[best])
    return [{**one, "chosen": i == best} for i, one in enumerate(found)]


def _ship(name: str, run: Path) -> None:
    shutil.rmtree(WEIGHTS / name, ignore_errors=True)
    pack(run, WEIGHTS / name)


def described(name: str) -> dict[str, Any]:
    """What a card says of a model without asking it anything."""
    folder, rows = WEIGHTS / name, builtin.rows()
    model, stored = load_model(name), folder / "model.safetensors"
    return {
        "training": json.loads((folder / MANIFEST).read_text(encoding="utf-8")),
        "architecture": (
            f"{model.architecture.removesuffix('ForCausalLM').removesuffix('LMHeadModel')}: "
            f"{model.n_layers} layers, {model.n_heads} heads, d_model {model.d_model}"
        ),
        "parameters": sum(tensor.numel() for tensor in load_file(stored).values()),
        "megabytes": round(stored.stat().st_size / 1e6, 2),
        "vocabulary": model.d_vocab,
        "facts": len(rows),
        "subjects": len({row.subject for row in rows}),
        "kinds": len({row.kind for row in rows}),
        "relations": len(builtin.wordings()),
        "wordings": sum(map(len, experiments.every_wording().values())),
        "checkpoints": names.steps_of(folder),
    }


def write(name: str, measured: dict[str, Any]) -> None:
    """Write figures and card beside the weights."""
    folder = WEIGHTS / name
    text = json.dumps(measured, indent=1, ensure_ascii=False)
    (folder / MEASURED).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(measured), encoding="utf-8")


def main(
    name: Annotated[str, typer.Argument(help="an embedded model")] = "mini",
    run: Annotated[
        list[Path] | None, typer.Option(help="a training run to choose from; may be repeated")
    ] = None,
    measuring: Annotated[
        bool, typer.Option(help="off: write the card anew from the figures that are there")
    ] = True,
) -> None:
    """Measure an embedded model and write its card; with --run, choose and pack it first."""
    path = WEIGHTS / name / MEASURED
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    seeds = choose(name, run) if run else before.get("seeds", [])
    figures = measure(load_model(name), name) if measuring or run else before
    measured = {**figures, **described(name), "seeds": seeds}
    write(name, measured)
    typer.echo(f"{name}: {held(measured['criteria'])} of {len(measured['criteria'])} criteria hold")
    for row in measured["criteria"]:
        if not row["holds"]:
            typer.echo(f"  not: {row['what']} {row['bound']}: {row['value'][0]:.4g}")


if __name__ == "__main__":
    typer.run(main)
