"""The public names for type checkers and editors; `__init__.py` loads them on first use."""

from factviz.analysis.ablation import ablate as ablate
from factviz.analysis.attention_knockout import knock_out_attention as knock_out_attention
from factviz.analysis.attributes_rate import attributes_rate as attributes_rate
from factviz.analysis.attribution import attribute_logits as attribute_logits
from factviz.analysis.blocking import block_attention as block_attention
from factviz.analysis.enriching_neurons import find_enriching_neurons as find_enriching_neurons
from factviz.analysis.extraction import extraction_events as extraction_events
from factviz.analysis.gradients import gradients as gradients
from factviz.analysis.head_classes import classify_heads as classify_heads
from factviz.analysis.head_vocabulary import head_vocabulary as head_vocabulary
from factviz.analysis.hub_map import map_hubs as map_hubs
from factviz.analysis.lens import lens as lens
from factviz.analysis.partial import partial_result as partial_result
from factviz.analysis.patching import patch_heads as patch_heads
from factviz.analysis.recall_flow import follow_recall as follow_recall
from factviz.analysis.state_patching import patch_states as patch_states
from factviz.analysis.sublayer_knockout import knock_out_sublayers as knock_out_sublayers
from factviz.facts.errors import FactvizError as FactvizError
from factviz.facts.errors import FactvizWarning as FactvizWarning
from factviz.facts.fact import Fact as Fact
from factviz.facts.factset import FactSet as FactSet
from factviz.models.factmodel import FactModel as FactModel
from factviz.models.loading import load_model as load_model
from factviz.models.traced import Trace as Trace
from factviz.models.traced import trace as trace
from factviz.results.attention_knockout import AttentionKnockout as AttentionKnockout
from factviz.results.attributes_rate import AttributesRate as AttributesRate
from factviz.results.attribution import Attribution as Attribution
from factviz.results.causal import Causal as Causal
from factviz.results.enriching_neurons import EnrichingNeurons as EnrichingNeurons
from factviz.results.extraction import Extraction as Extraction
from factviz.results.gradients import Gradients as Gradients
from factviz.results.head_classes import HeadClasses as HeadClasses
from factviz.results.head_vocabulary import HeadVocabulary as HeadVocabulary
from factviz.results.hub_map import HubMap as HubMap
from factviz.results.lens import LogitLens as LogitLens
from factviz.results.opening import open_result as open_result
from factviz.results.options import options as options
from factviz.results.recall_flow import RecallFlow as RecallFlow
from factviz.results.sublayer_knockout import SublayerKnockout as SublayerKnockout
from factviz.results.versions import show_versions as show_versions

__version__: str
