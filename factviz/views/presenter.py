"""What results call to show themselves: a mime bundle, a file, an axes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from factviz.results import options, storage
from factviz.results.additive_motif import AdditiveMotif
from factviz.results.attention_knockout import AttentionKnockout
from factviz.results.attributes_rate import AttributesRate
from factviz.results.attribution import Attribution
from factviz.results.base import Result
from factviz.results.causal import Causal
from factviz.results.comparison import Comparison
from factviz.results.edit_effects import EditEffects
from factviz.results.enriching_neurons import EnrichingNeurons
from factviz.results.extraction import Extraction
from factviz.results.gradients import Gradients
from factviz.results.head_classes import HeadClasses
from factviz.results.head_effects import HeadEffects
from factviz.results.head_profile import HeadProfile
from factviz.results.head_vocabulary import HeadVocabulary
from factviz.results.hub_map import HubMap
from factviz.results.lens import LogitLens
from factviz.results.misfires import Misfires
from factviz.results.mitigation import Mitigation
from factviz.results.mlp_boosts import MLPBoosts
from factviz.results.mlp_decomposition import MLPDecomposition
from factviz.results.movers import MoverHeads
from factviz.results.path_patching import PathPatching
from factviz.results.recall_flow import RecallFlow
from factviz.results.reversal import Reversal
from factviz.results.shared_attributes import SharedAttributes
from factviz.results.shot_comparison import ShotComparison
from factviz.results.sublayer_knockout import SublayerKnockout
from factviz.results.suppressors import Suppressors
from factviz.results.token_trace import TokenTrace
from factviz.views import (
    additive_motif,
    attention_knockout,
    attributes_rate,
    attribution,
    causal,
    comparison,
    edit_effects,
    enriching_neurons,
    extraction,
    flow,
    gradients,
    head_classes,
    head_effects,
    head_profile,
    head_vocabulary,
    html,
    hub_map,
    lens,
    misfires,
    mitigation,
    mlp_boosts,
    mlp_decomposition,
    movers,
    path_patching,
    reversal,
    shared_attributes,
    shot_comparison,
    sublayer_knockout,
    suppressors,
    token_trace,
)
from factviz.views.spec import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BUILDERS: dict[str, Callable[[Any], Figure]] = {
    AdditiveMotif.kind: additive_motif.build,
    AttentionKnockout.kind: attention_knockout.build,
    AttributesRate.kind: attributes_rate.build,
    Attribution.kind: attribution.build,
    Causal.kind: causal.build,
    Comparison.kind: comparison.build,
    EditEffects.kind: edit_effects.build,
    EnrichingNeurons.kind: enriching_neurons.build,
    Extraction.kind: extraction.build,
    Gradients.kind: gradients.build,
    HeadClasses.kind: head_classes.build,
    HeadEffects.kind: head_effects.build,
    HeadProfile.kind: head_profile.build,
    HeadVocabulary.kind: head_vocabulary.build,
    HubMap.kind: hub_map.build,
    LogitLens.kind: lens.build,
    MLPBoosts.kind: mlp_boosts.build,
    MLPDecomposition.kind: mlp_decomposition.build,
    Misfires.kind: misfires.build,
    PathPatching.kind: path_patching.build,
    Mitigation.kind: mitigation.build,
    MoverHeads.kind: movers.build,
    RecallFlow.kind: flow.build,
    Reversal.kind: reversal.build,
    SharedAttributes.kind: shared_attributes.build,
    ShotComparison.kind: shot_comparison.build,
    SublayerKnockout.kind: sublayer_knockout.build,
    TokenTrace.kind: token_trace.build,
    Suppressors.kind: suppressors.build,
}


def build(result: Result) -> Figure:
    """The figure of any result."""
    return _BUILDERS[result.kind](result)


def figure(result: Result) -> tuple[dict[str, Any], bytes]:
    """The figure as a widget carries it: {"spec", "arrays"} and one buffer."""
    built = build(result)
    return built.transport(), built.buffer


def mimebundle(
    result: Result, include: Collection[str] | None = None, exclude: Collection[str] | None = None
) -> dict[str, Any]:
    """text/plain, and text/html or image/png as `options` say."""
    bundle: dict[str, Any] = {"text/plain": repr(result)}
    shown = options.display()
    if shown == "png":
        bundle["image/png"] = render(result, ".png")
    else:
        built = build(result)
        bundle["text/html"] = (html.fragment if shown == "html" else html.table_fragment)(built)
    return {
        kind: content
        for kind, content in bundle.items()
        if (not include or kind in include) and kind not in (exclude or ())
    }


def render(result: Result, suffix: str) -> bytes:
    """The bytes of a file: .html, .svg, .png or .pdf."""
    built = build(result)
    if suffix == ".html":
        return html.page(built, storage.stored(result)).encode("utf-8")
    from factviz.views.painters import files

    return files.render(built, suffix.removeprefix("."))


def plot(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the result's first panel on `ax`, or on a new figure of its own."""
    from factviz.views.painters import files

    return files.plot(build(result), ax)
