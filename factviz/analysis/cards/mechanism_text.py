"""The sections of a card on the mechanisms of P2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from factviz.analysis.cards.tables import number, share, table

Found = Mapping[str, Any]


def shots(found: Sequence[Found]) -> str:
    """Recall behind shots."""
    rows = [
        [str(row["shots"]), share(row["top1"]), number(row["probability"], 3),
         number(row["gain"], 3) if row["gain"] else "–"]
        for row in found
    ]  # fmt: skip
    last = found[-1]["gain"]
    said = "Shots raise P(answer)." if last[1] > 0 else "That shots raise P(answer) is not shown."
    columns = ["shots", "top-1", "P(answer)", "gain in P over no shots, paired"]
    return table("Shots", columns, rows, said)


def topic_heads(found: Sequence[Found]) -> str:
    """Heads that attend to the topic most."""
    rows = [
        [f"L{row['layer']}H{row['head']}", number(row["attention"]), number(row["answer"])]
        for row in found
    ]
    columns = ["head", "attention END → subject", "written to the answer from there, logits"]
    for text, row in zip(rows, found, strict=True):
        text += [number(row["r"]), f"{row['copying']:.2f}"]
    movers = [text[0] for text, row in zip(rows, found, strict=True) if row["mover"]]
    said = (
        f"Movers: {', '.join(movers)}." if movers else "That one of them is a mover is not shown."
    )
    columns += ["r of attention with the write of the topic", "copying score"]
    return table("Heads that read the topic", columns, rows, said)


def final_parts(found: Sequence[Found]) -> str:
    """What the parts of the last layer do to the answer."""
    rows = [[row["part"], number(row["effect"])] for row in found]
    names = [row["part"] for row in found if row["negative"]]
    said = (
        f"Below zero with their whole interval: {', '.join(names)}."
        if names
        else "That a part of the last layer holds the answer back is not shown."
    )
    columns = ["part of the last layer", "a − mean(R), logits"]
    for text, row in zip(rows, found, strict=True):
        text += [number(row["ablation"]), number(row["correlation"])]
    names = [row["part"] for row in found if row["suppressor"]]
    held = (
        f"Suppressors: {', '.join(names)}." if names else "That one is a suppressor is not shown."
    )
    said = f"{said} {held}"
    columns += ["change under mean ablation, logits", "r of the effect with P(answer)"]
    return table("What the last layer does to the answer", columns, rows, said)


def answer_heads(found: Found) -> str:
    """Heads that attend to the topic where they write the answer."""
    heads = ", ".join(found["heads"]) or "none"
    return (
        "\n## Heads whose attention to the topic goes with the answer\n"
        f"By the same rule, with what they write of the answer in place of the topic: {heads}\n"
        f"({found['facts']} facts)."
    )


def senders(found: Found) -> str:
    """The strongest senders of path patching."""
    rows = [
        [row["sender"], number(row["delta"]), number(row["control"]),
         f"{row['change'][0]:+.1f} % ({row['change'][1]:+.1f} to {row['change'][2]:+.1f})"]
        for row in found["strongest"]
    ]  # fmt: skip
    note = (
        "Path patching to the final residual at END: a sender's output replaced by its mean over\n"
        f"prompts about other topics, attention frozen, MLPs recomputed; {found['facts']} facts,\n"
        f"π {found['base']:.1f} logits. The control moves the sender as far in a random direction."
    )
    columns = ["sender", "change of π, logits", "control", "of π"]
    return table("Strongest paths to the answer", columns, rows, note)


def maps(found: Found) -> str:
    """MLPs as linear maps of heads, by layer."""
    rows = [
        [str(row["layer"]), f"{row['r2']:.3f}", f"{row['r2_control']:.3f}", f"{row['r2_zero']:.3f}",
         f"{row['head']} {number(row['g'])}" + (f", {row['word']}" if row["word"] else "")]
        for row in found["layers"]
    ]  # fmt: skip
    note = (
        f"Each MLP's output at END as a weighted sum of {found['heads']}, exact least squares,\n"
        f"{found['facts']} facts, folds by subject. R² is held out and centred: against the mean\n"
        "of the training folds. Against zero it is mostly that mean. g > 0 amplifies, −1 erases."
    )
    columns = ["layer", "R²", "heads shuffled", "R² against zero", "largest g"]
    return table("MLPs as linear maps of heads", columns, rows, note)


def mitigation(found: Found) -> str:
    """Suppressors scaled, against temperature scaling."""
    rows = [
        [method, *(number(found["methods"][method][name], 3) for name in _MEASURES)]
        for method in found["methods"]
    ]
    scaled = ", ".join(found["components"]) or "none was found, so that nothing is scaled"
    note = (
        "Gain and temperature are chosen on half of the subjects, judged on the other.\n"
        f"Suppressors on the choosing half: {scaled}. Gain {found['gain']:g}, temperature "
        f"{found['temperature']:.2f}."
    )
    columns = ["", "accuracy", "P(answer)", "ECE", "Brier", "NLL"]
    return table("Mitigation, against temperature", columns, rows, note)


_MEASURES = ("accuracy", "probability", "ece", "brier", "nll")


def onsets(found: Sequence[Found]) -> str:
    """Where heads begin to write, by number of shots."""
    rows = [
        [str(row["shots"]), *(_layers(row[name]) for name in ("answer_write", "topic_write",
                                                               "attention"))]
        for row in found
    ]  # fmt: skip
    note = (
        "The layer from which on heads write more of the answer (of the topic) than of another\n"
        "fact's, and END attends more to the topic than to random tokens; in brackets the layer\n"
        "where half of the largest difference is reached."
    )
    columns = ["shots", "answer written", "topic written", "topic attended to"]
    return table("Where heads begin to move the fact", columns, rows, note)


def _layers(row: Found) -> str:
    return "not shown" if row["layer"] is None else f"{row['layer']} ({row['half']})"
