"""The model card of an embedded model, written from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from factviz.analysis.cards import mechanism_text
from factviz.analysis.cards.criteria import held
from factviz.analysis.cards.knockouts import worst
from factviz.analysis.cards.motif import PARTS
from factviz.analysis.cards.tables import number, share, table
from factviz.models.mini import corpus
from factviz.models.mini.batches import ANSWER_WEIGHT, WORD_SHARE
from factviz.models.mini.recipes import RECIPES

Found = Mapping[str, Any]

_ABOUT = {
    "mini": "The default. Parallel blocks and no attention mask in training, so that subject heads,"
    " relation heads and MLPs each add their part: for *Summing Up the Facts* and *Dissecting"
    " Recall*.",
    "mini-propagation": "`mini`, trained on with a mask: in a share of the sentences the position"
    " that predicts the answer may not attend to the subject, so that the subject also travels"
    " through the relation's tokens and mixed heads exist. The mask is an artefact of training,"
    " made to show a mechanism; there is none when the model is used.",
    "mini-gpt2": "Sequential blocks, trained with many few-shot texts: for *Key Mechanisms*, and"
    " wherever the residual stream between attention and MLP is needed.",
}

_HEAD = """# {name}

{about}

A small decoder trained for factviz and shipped inside the package, so that every figure can be
drawn without a network. It knows the facts of `factviz/facts/tables/` and nothing else: it is for
learning, testing and showing how a fact is recalled, not for answering questions.

| | |
|---|---|
| architecture | {architecture} |
| parameters | {parameters:,}; {megabytes:.1f} MB as float16, computed with in float32 |
| tokenizer | byte-level BPE, {vocabulary:,} tokens; every answer is one token with its leading space; BOS in front |
| facts | {facts:,} real facts of {subjects:,} subjects ({kinds} kinds), {relations} relations, {wordings:,} wordings |
| training | seed {seed}, {steps:,} steps of {size} texts{stages}, {minutes:.0f} minutes on {device}{start} |
| attention mask in training | {mask} |
| texts | {shares} |
| label noise | {noise:.0%} of the answers in a text of one statement are another subject's: {unreliable:.0%} of the texts are unreliable, with {high:.0%} wrong answers, the others have {low:.0%}; answer tokens count ×{weight:g}, of the others {words:.0%} are predicted |
| checkpoints | {checkpoints} |
| manifest | tables {tables}, wordings {wordings_hash}, recipe {recipe} (SHA-256, shortened); {versions} |

Every number below comes from `python -m factviz.analysis.cards {name}`, which also wrote this file;
`measured.json` beside it holds all of them. Intervals are 95 %, from resampled subjects; means are
macro-averages over relations. The subjects measured here had no part in choosing anything.
"""

_LIMITS = """

## Limits
- The facts were written from general knowledge, simplified to one answer each ("the language of
  Switzerland"); languages and sports are those a short list would name.
- What its heads do is what *this* training led to. Effects measured on it show a mechanism at
  work; they are not evidence about larger models.
- Made-up subjects get an answer too: a share of the training texts gives them random ones. The
  people of the experiment "fiction" do not exist.

MIT licence, as the rest of factviz.
"""


def card(measured: Found) -> str:
    """Markdown text of the card."""
    sections: dict[str, Callable[[Any], str]] = {
        "criteria": _criteria,
        "seeds": _seeds,
        "recall": _recall,
        "parts": _parts,
        "heads": _heads,
        "directions": _directions,
        "enrichment": _enrichment,
        "routes": _routes,
        "experiments": _experiments,
        "shots": mechanism_text.shots,
        "onsets": mechanism_text.onsets,
        "senders": mechanism_text.senders,
        "topic_heads": mechanism_text.topic_heads,
        "answer_heads": mechanism_text.answer_heads,
        "maps": mechanism_text.maps,
        "final_parts": mechanism_text.final_parts,
        "mitigation": mechanism_text.mitigation,
    }
    written = [write(measured[key]) for key, write in sections.items() if measured.get(key)]
    return "\n".join([_head(measured), *written]) + _LIMITS


def _head(measured: Found) -> str:
    run, name = measured["training"], measured["name"]
    recipe, hashes = RECIPES[name], measured["training"]["manifest"]
    masks = [
        f"{share:.0%} of the sentences from step {round(since * run['step']):,} on"
        for since, share in recipe.blocked
    ]
    steps = ", ".join(map(str, measured["checkpoints"]))
    return _HEAD.format(
        name=name,
        about=_ABOUT[name],
        **{k: measured[k] for k in (
            "architecture", "parameters", "megabytes", "vocabulary", "facts", "subjects", "kinds",
            "relations", "wordings")},
        seed=run["seed"],
        steps=run["step"],
        size=recipe.size,
        stages=_stages(recipe.stages),
        minutes=run["seconds"] / 60,
        device=run["device"].upper(),
        start=f", beginning with {recipe.start}" if recipe.start else "",
        mask="END → subject blocked in " + ", ".join(masks) if recipe.start else "none",
        shares=", ".join(f"{kind} {share:.1%}" for kind, share in recipe.shares.items()),
        noise=corpus.LABEL_NOISE,
        unreliable=corpus.UNRELIABLE_SHARE,
        high=corpus.NOISE[False],
        low=corpus.NOISE[True],
        weight=ANSWER_WEIGHT,
        words=WORD_SHARE,
        checkpoints=f'`load_model("{name}", step=…)`: {steps}' if steps else "none",
        tables=hashes["tables"],
        wordings_hash=hashes["wordings"],
        recipe=hashes["recipe"],
        versions=", ".join(f"{k} {v}" for k, v in hashes["versions"].items()),
    )  # fmt: skip


def _stages(stages: Sequence[tuple[int, float]]) -> str:
    if len(stages) == 1:
        return ""
    return " in stages of " + " and ".join(f"{updates:,}" for updates, _ in stages)


def _criteria(found: Sequence[Found]) -> str:
    rows = [
        [row["what"], row["bound"], number(row["value"], 3), "yes" if row["holds"] else "**no**"]
        for row in found
    ]
    note = f"{held(found)} of {len(found)} hold."
    return table("What it must show", ["criterion", "bound", "measured", "holds"], rows, note)


def _seeds(found: Sequence[Found]) -> str:
    names = [row["what"] for row in found[0]["criteria"]]
    rows = [
        [what, *(number([seed["criteria"][i]["value"][0]] * 3, 3) for seed in found)]
        for i, what in enumerate(names)
    ]
    rows.append(["**criteria that hold**", *(f"**{held(seed['criteria'])}**" for seed in found)])
    columns = ["criterion", *(
        f"seed {seed['seed']}" + (" (shipped)" if seed["chosen"] else "") for seed in found
    )]  # fmt: skip
    note = (
        "Measured on the other half of the subjects, with fewer facts. The seed with most criteria\n"
        "held is shipped, of equals the first."
    )
    return table("Seeds", columns, rows, note)


def _recall(found: Found) -> str:
    what = {
        "held-out pairs": "(fact, wording) pairs never trained on, fact and wording each seen",
        "unseen wordings": "wordings never trained on for any fact",
        "lists": "subjects seen only in lists of their attributes",
    }
    rows = [
        [text, f"{found[key]['facts']:,}", share(found[key]["top1"]),
         number(found[key]["probability"], 3), f"{found[key]['ece']:.3f}"]
        for key, text in what.items()
    ]  # fmt: skip
    columns = ["asked", "prompts", "top-1", "P(answer)", "calibration error"]
    note = (
        "An answer is its one token. The calibration error compares the top token's P with how\n"
        "often it is right (10 bins of equal mass); training with wrong answers in it makes the\n"
        "model less sure than it is right."
    )
    relations = found["held-out pairs"]["by_relation"]
    each = [
        [name, *(f"{found[k]['by_relation'].get(name, float('nan')):.0%}" for k in list(what)[:2])]
        for name in relations
    ]
    return (
        table("Recall", columns, rows, note)
        + "\n\n<details><summary>By relation</summary>\n"
        + table("", ["relation", "held-out pairs", "unseen wordings"], each).removeprefix("\n## ")
        + "\n\n</details>"
    )


def _parts(found: Found) -> str:
    sets = {"subject": "S ∪ a", "relation": "R ∪ a", "mlps": "R ∪ a"}
    rows = [
        [PARTS[part], share(found[part]["right"]), f"{share(found[part]['inside'])} in {s}"]
        for part, s in sets.items()
    ]
    rows.append(["all parts together", share(found["all"]["right"]), "–"])
    note = f"What each part alone would answer (direct logit attribution), {found['facts']} facts."
    return table("Parts alone", ["part", "right", "top-1 inside its own set"], rows, note)


def _heads(found: Found) -> str:
    rows = [
        [what, ", ".join(found[key]) or "none"]
        for key, what in (
            ("subject", "lift S over O from subject tokens"),
            ("relation", "lift R over O from relation tokens"),
            *((f"class {name}", f"class {name} (τ = 10)") for name in (
                "subject", "relation", "mixed", "suppressing")),
        )
        if key in found
    ]  # fmt: skip
    note = "On each of two halves of the facts that share no subject."
    heads = table("Heads", ["heads that", "which"], rows, note)
    return heads + "\n\n" + _mixed(found["mixed"])


def _mixed(found: Found | None) -> str:
    if found is None:
        return "No head is mixed."
    clean, blocked, random = (number(found[key]) for key in ("clean", "blocked", "random"))
    return (
        f"Mixed on one half of these facts: {', '.join(found['heads'])}. On the other half they "
        f"write from relation tokens {clean} logits more to the answer than to the mean of R; "
        f"{blocked} when the relation may not read the subject, {random} when it may not read as "
        f"many random tokens ({found['facts']} facts)."
    )


def _directions(found: Found) -> str:
    rows = [
        _curve(f"END → {curve['group']}, window of {curve['window']}", curve)
        for curve in found["attention"]
    ]
    rows += [
        _curve(f"{curve['sublayer']} update at the last subject token", curve)
        for curve in found["sublayers"]
    ]
    three = found["worst_three"]
    rows.append(
        ["END → subject in its three worst layers at once", ", ".join(map(str, three["layers"])),
         f"{three['mean']:+.1f} %", f"{three['low']:+.1f} to {three['high']:+.1f}",
         f"{three['control']:+.1f} %"]
    )  # fmt: skip
    for curve in found["halves"]:
        first, last = curve["layers"]
        mean, low, high, control = (curve[key][0] for key in ("mean", "low", "high", "control"))
        rows.append(
            ["all MLP updates there at once", f"{first} to {last}", f"{mean:+.1f} %",
             f"{low:+.1f} to {high:+.1f}", f"{control:+.1f} %"]
        )  # fmt: skip
    note = (
        f"What is lost of the probability of the model's own answer, in percent of it, where it is\n"
        f"lost most; {found['facts']} facts. The control blocks as many random keys, or cancels at\n"
        "random positions."
    )
    columns = ["knockout", "layer", "change", "interval", "control there"]
    return table("Directions of effects", columns, rows, note) + "\n\n" + _order(found)


def _curve(what: str, curve: Found) -> list[str]:
    at = worst(dict(curve))
    mean, low, high, control = (curve[key][at] for key in ("mean", "low", "high", "control"))
    return [what, str(at), f"{mean:+.1f} %", f"{low:+.1f} to {high:+.1f}", f"{control:+.1f} %"]


def _order(found: Found) -> str:
    at = {c["group"]: worst(c) for c in found["attention"] if c["window"] == 1}
    first, then = sorted(at, key=lambda group: at[group])
    if at[first] == at[then]:
        return f"Subject and relation are read in the same layer, {at[first]} (windows of 1)."
    return (
        f"The {first} is read before the {then}: END → {first} matters most in layer {at[first]}, "
        f"END → {then} in layer {at[then]} (windows of 1)."
    )


def _enrichment(found: Found) -> str:
    rows = [
        [str(layer), f"{mean:.3f} ({low:.3f} to {high:.3f})", f"{shuffled:.3f}"]
        for layer, mean, low, high, shuffled in zip(
            *(found[key] for key in ("layer", "mean", "low", "high", "shuffled")), strict=True
        )
    ]
    note = (
        f"Share of a subject's attributes among the first {found['top_k']} tokens of the state of "
        f"its last token; {found['facts']} facts. Layer −1 is the embedding. After layer "
        f"{found['best_layer']}, chosen on half of the subjects, the others' recall is "
        f"{number(found['ratio'], 1)} times that of another subject's attributes."
    )
    columns = ["after layer", "recall", "another subject's attributes"]
    return table("Enrichment", columns, rows, note)


def _routes(found: Found) -> str:
    rows = [["nothing", number(found["clean"], 3), "–"]]
    rows += [
        [name, number(band, 3), number(found["controls"][name], 3)]
        for name, band in found["paths"].items()
    ]
    note = (
        f"P(answer) with attention edges blocked in all layers, {found['facts']} facts. The control\n"
        "blocks as many random keys."
    )
    return table("Two ways for the subject", ["blocked", "P(answer)", "control"], rows, note)


def _experiments(found: Found) -> str:
    rows = [
        [f'`"{name}"`', f"{row['facts']:,}", share(row["top1"]), number(row["probability"], 3),
         _extra(row)]
        for name, row in found.items()
    ]  # fmt: skip
    note = "`FactSet.builtin(…)` gives the facts of each; what they are says `factviz.facts.experiments`."
    columns = ["facts", "how many", "top-1", "P(answer)", ""]
    return table("Built-in experiments", columns, rows, note)


def _extra(row: Found) -> str:
    if "rival" in row:
        return f"P of the other answer {number(row['rival'], 3)}"
    if "years" in row:
        years = row["years"]
        return (
            f"of {years['wrong']} wrong answers {years['are_years']} are years, off by "
            f"{years['off']:g} in the median"
            if years["are_years"]
            else f"{years['wrong']} wrong answers, no years"
        )
    return ""
