"""The model card of an embedded model, written from what was measured."""

from __future__ import annotations

from typing import Any

from factviz.models.mini import corpus
from factviz.models.mini.batches import ANSWER_WEIGHT

_TEXT = """# {name}

A small decoder trained for factviz, shipped inside the package, so that every figure can be drawn
without a network. It knows the facts of `factviz/facts/tables/` and nothing else: it is for
learning, testing and showing how a fact is recalled, not for answering questions.

| | |
|---|---|
| architecture | GPT-NeoX, parallel blocks: 6 layers, d_model 192, 8 heads, MLP 768, untied embeddings |
| parameters | {parameters:,}, stored as float16, computed with in float32 |
| tokenizer | byte-level BPE; every answer word is one token with its leading space; BOS in front |
| facts | {facts:,} facts of {subjects:,} subjects, {relations} (kind, relation) pairs, {wordings} wordings |
| training | seed {seed}, {steps:,} steps of 96 sentences, {minutes:.0f} minutes on one CPU core, no attention mask |
| sentences | {shares} |
| label noise | {noise:.0%} of the stated answers are another subject's; answer tokens count ×{weight:g} |

## Measured
By `python -m factviz.models.mini.package RUN`, on the packed weights. An answer is its first
token; P is its mean probability.

| | pairs | top-1 | P(answer) |
|---|---|---|---|
| (fact, wording) pairs never trained on, fact and wording each seen | {held_pairs:,} | {held_top1:.2%} | {held_p:.3f} |
| wordings never trained on | {unseen_pairs:,} | {unseen_top1:.2%} | {unseen_p:.3f} |

| relation | held-out pairs, top-1 | unseen wordings, top-1 |
|---|---|---|
{rows}
{directions}
## Limits
- The facts were written from general knowledge, simplified to one answer each ("the language of
  Switzerland"); languages and sports are those a short list would name.
- What its heads do is what *this* training led to. Effects measured on it show a mechanism at
  work; they are not evidence about larger models.
- Made-up subjects get an answer too: a share of the training sentences gives them random ones.

MIT licence, as the rest of factviz.
"""

_DIRECTIONS = """
## Directions of effects
By `python -m factviz.analysis.cards {name}`, on {facts} facts of all relations: what is lost of the
probability of the model's own answer, in percent of it, where it is lost most, with a 95 %
interval over subjects. The control blocks as many random keys, or cancels at random positions.

| knockout | most around layer | change | interval | control there |
|---|---|---|---|---|
{rows}

{order}
"""


def card(name: str, measured: dict[str, Any]) -> str:
    """Markdown text of the card."""
    held, unseen, run = (measured[k] for k in ("held_out_pairs", "unseen_wordings", "training"))
    rows = "\n".join(
        f"| {relation} | {top1:.1%} | {unseen['by_relation'][relation]:.1%} |"
        for relation, top1 in held["by_relation"].items()
    )
    return _TEXT.format(
        name=name,
        parameters=measured["parameters"],
        facts=measured["facts"],
        subjects=measured["subjects"],
        wordings=measured["wordings"],
        relations=len(held["by_relation"]),
        seed=run["seed"],
        steps=run["step"],
        minutes=run["seconds"] / 60,
        shares=", ".join(f"{kind} {share:.0%}" for kind, share in corpus.SHARES.items()),
        noise=corpus.LABEL_NOISE,
        weight=ANSWER_WEIGHT,
        held_pairs=held["pairs"],
        held_top1=held["top1"],
        held_p=held["probability"],
        unseen_pairs=unseen["pairs"],
        unseen_top1=unseen["top1"],
        unseen_p=unseen["probability"],
        rows=rows,
        directions=_directions(name, measured["directions"]) if "directions" in measured else "",
    )


def _directions(name: str, found: dict[str, Any]) -> str:
    rows = [
        _row(f"END → {curve['group']}, window of {curve['window']}", curve)
        for curve in found["attention"]
    ]
    rows += [
        _row(f"{curve['sublayer']} update at the last subject token", curve)
        for curve in found["sublayers"]
    ]
    worst = {c["group"]: _worst(c) for c in found["attention"] if c["window"] == 1}
    first, then = sorted(worst, key=lambda group: worst[group])
    order = (
        f"The {first} is read before the {then}: END → {first} matters most in layer "
        f"{worst[first]}, END → {then} in layer {worst[then]} (windows of 1)."
        if worst[first] < worst[then]
        else f"Subject and relation are read in the same layer, {worst[first]} (windows of 1)."
    )
    return _DIRECTIONS.format(name=name, facts=found["facts"], rows="\n".join(rows), order=order)


def _worst(curve: dict[str, Any]) -> int:
    return curve["mean"].index(min(curve["mean"]))


def _row(what: str, curve: dict[str, Any]) -> str:
    at = _worst(curve)
    mean, low, high, control = (curve[key][at] for key in ("mean", "low", "high", "control"))
    return f"| {what} | {at} | {mean:+.1f} % | {low:+.1f} to {high:+.1f} | {control:+.1f} % |"
