"""factviz shows, inside a notebook, where a language model's factual answer comes from.

The public names are loaded on first use, so that ``import factviz`` stays under 0.2 s and brings
no torch until a model is loaded.
"""

from __future__ import annotations

import importlib
from typing import Any

from factviz.results import presenter

__version__ = "0.1.0"

_PUBLIC = {
    "AdditiveMotif": "factviz.results.additive_motif",
    "AttentionKnockout": "factviz.results.attention_knockout",
    "AttributesRate": "factviz.results.attributes_rate",
    "Attribution": "factviz.results.attribution",
    "Causal": "factviz.results.causal",
    "Comparison": "factviz.results.comparison",
    "EditEffects": "factviz.results.edit_effects",
    "EnrichingNeurons": "factviz.results.enriching_neurons",
    "Extraction": "factviz.results.extraction",
    "Fact": "factviz.facts.fact",
    "FactModel": "factviz.models.factmodel",
    "FactSet": "factviz.facts.factset",
    "FactvizError": "factviz.facts.errors",
    "FactvizWarning": "factviz.facts.errors",
    "Gradients": "factviz.results.gradients",
    "HeadClasses": "factviz.results.head_classes",
    "HeadEffects": "factviz.results.head_effects",
    "HeadProfile": "factviz.results.head_profile",
    "HeadVocabulary": "factviz.results.head_vocabulary",
    "HubMap": "factviz.results.hub_map",
    "LogitLens": "factviz.results.lens",
    "MLPBoosts": "factviz.results.mlp_boosts",
    "MLPDecomposition": "factviz.results.mlp_decomposition",
    "Misfires": "factviz.results.misfires",
    "Mitigation": "factviz.results.mitigation",
    "MoverHeads": "factviz.results.movers",
    "PathPatching": "factviz.results.path_patching",
    "RecallFlow": "factviz.results.recall_flow",
    "Reversal": "factviz.results.reversal",
    "SharedAttributes": "factviz.results.shared_attributes",
    "ShotComparison": "factviz.results.shot_comparison",
    "SublayerKnockout": "factviz.results.sublayer_knockout",
    "Suppressors": "factviz.results.suppressors",
    "TokenTrace": "factviz.results.token_trace",
    "Trace": "factviz.models.traced",
    "ablate": "factviz.analysis.ablation",
    "ablate_classes": "factviz.analysis.class_effects",
    "attribute_logits": "factviz.analysis.attribution",
    "attributes_rate": "factviz.analysis.attributes_rate",
    "block_attention": "factviz.analysis.blocking",
    "check_robustness": "factviz.analysis.robustness",
    "classify_heads": "factviz.analysis.head_classes",
    "compare": "factviz.results.comparison",
    "compare_edits": "factviz.analysis.edit_effects",
    "compare_effects": "factviz.analysis.head_effects",
    "compare_shots": "factviz.analysis.shot_comparison",
    "counterfactuals": "factviz.facts.counterfactuals",
    "decompose_mlps": "factviz.analysis.mlp_decomposition",
    "edit_head": "factviz.analysis.head_editing",
    "explore_heads": "factviz.notebook.head_explorer",
    "explore_paths": "factviz.notebook.path_explorer",
    "extraction_events": "factviz.analysis.extraction",
    "find_enriching_neurons": "factviz.analysis.enriching_neurons",
    "find_misfires": "factviz.analysis.misfires",
    "find_movers": "factviz.analysis.movers",
    "find_shared_attributes": "factviz.analysis.shared_attributes",
    "find_suppressors": "factviz.analysis.suppressors",
    "follow_recall": "factviz.analysis.recall_flow",
    "follow_tokens": "factviz.analysis.token_trace",
    "gradients": "factviz.analysis.gradients",
    "head_vocabulary": "factviz.analysis.head_vocabulary",
    "keep_heads": "factviz.analysis.class_effects",
    "knock_out_attention": "factviz.analysis.attention_knockout",
    "knock_out_paths": "factviz.analysis.double_knockout",
    "knock_out_sublayers": "factviz.analysis.sublayer_knockout",
    "lens": "factviz.analysis.lens",
    "load_model": "factviz.models.loading",
    "map_hubs": "factviz.analysis.hub_map",
    "mitigate": "factviz.analysis.mitigation",
    "mlp_boosts": "factviz.analysis.mlp_boosts",
    "open_result": "factviz.results.opening",
    "options": "factviz.results.options",
    "partial_result": "factviz.analysis.partial",
    "patch_classes": "factviz.analysis.class_effects",
    "patch_heads": "factviz.analysis.patching",
    "patch_paths": "factviz.analysis.path_patching",
    "patch_states": "factviz.analysis.state_patching",
    "profile_head": "factviz.analysis.head_profile",
    "reversal": "factviz.analysis.reversal",
    "show_attention": "factviz.notebook.attention",
    "show_versions": "factviz.results.versions",
    "split_facts": "factviz.analysis.class_effects",
    "sum_up": "factviz.analysis.summing_up",
    "trace": "factviz.models.traced",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'factviz' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


# Results draw themselves, but may not import the rooms above them: the house wires them here.
presenter.register(
    lambda: importlib.import_module("factviz.views.presenter"),
    lambda: importlib.import_module("factviz.notebook.widget"),
)
