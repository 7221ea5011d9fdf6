"""What a user may call a model, and what is refused, in one line each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformer_lens.model_bridge import TransformerBridge

import factviz as fv
from factviz.models import names, repairs
from tests.families import FAMILIES, MORE_FAMILIES, VOCABULARY, tiny_model, tiny_tokenizer
from tests.hostile import HOSTILE

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": VOCABULARY,
}
FACT = fv.Fact("w5 w6 w7", "w6", "w20")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "some-model"
    tiny_model("llama").save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


def _refused(source: Any, **options: Any) -> str:
    with pytest.raises(fv.FactvizError) as caught:
        fv.load_model(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__cause__ is None  # one line: no forty of traceback behind it
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return message


def test_a_folder_gives_the_same_as_the_object(folder: Path) -> None:
    from_folder = fv.load_model(folder)
    from_object = fv.load_model(tiny_model("llama"), tokenizer=tiny_tokenizer())
    first, second = (fv.attribute_logits(fv.trace(m, FACT)) for m in (from_folder, from_object))
    assert (first.heads.values == second.heads.values).all()
    assert from_folder.weight_hash == from_object.weight_hash
    assert from_folder.dtype == torch.float32


def test_a_name_never_is_a_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert fv.load_model(str(folder)).name == "some-model"
    model = fv.load_model("./some-model/")
    assert model.name == "some-model"
    assert str(folder.parent) not in repr(model)
    assert str(folder.parent) not in str(fv.attribute_logits(fv.trace(model, FACT)).provenance)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert fv.load_model(plain).name == "some-model"  # and its tokenizer was found there
    assert fv.load_model(folder, name="mine").name == "mine"
    assert names.short_name("EleutherAI/pythia-70m") == "EleutherAI/pythia-70m"


def test_a_bridge_is_used_as_it_is() -> None:
    plain = tiny_model("gpt2")
    plain.config.architectures = ["GPT2LMHeadModel"]
    tokenizer = tiny_tokenizer()
    tokenizer.init_kwargs |= {"name_or_path": "tiny", "add_bos_token": True}
    bridge = TransformerBridge.boot_transformers("tiny", hf_model=plain, tokenizer=tokenizer)
    bridge.original_model.train()
    model = fv.load_model(bridge)
    assert model.bridge is bridge
    result = fv.attribute_logits(fv.trace(model, FACT), [3, 4])
    assert result.residual_error < 1e-5
    assert all(part.training for part in bridge.original_model.modules())
    own = fv.load_model(tiny_model("gpt2"), tokenizer=tiny_tokenizer())
    again = fv.attribute_logits(fv.trace(own, FACT), [3, 4])
    assert float(abs(again.heads - result.heads).max()) < 1e-6
    assert "has its device" in _refused(bridge, device="cpu")


def test_dtype_and_device_pass_through(folder: Path) -> None:
    model = fv.load_model(folder, dtype="float64", device="cpu")
    assert model.dtype == torch.float64
    assert model.device == torch.device("cpu")
    assert "int8" in _refused(folder, dtype="int8")
    assert "gpu7" in _refused(folder, device="gpu7")


def test_boot_options_reach_the_bridge(folder: Path) -> None:
    assert fv.load_model(folder, n_ctx=16).max_length == 16
    message = _refused(folder, nonsense=1)
    assert "nonsense" in message
    assert "n_ctx" in message


def test_the_hash_follows_the_weights() -> None:
    model = fv.load_model(tiny_model("gpt2"), tokenizer=tiny_tokenizer())
    before = model.weight_hash
    assert before == model.weight_hash
    other = fv.load_model(tiny_model("gpt2", seed=1), tokenizer=tiny_tokenizer())
    assert other.weight_hash != before
    with torch.no_grad():
        next(model.network.parameters())[0, 0] += 1
    assert model.weight_hash != before


def test_an_edit_of_the_output_embedding_is_seen() -> None:
    model = fv.load_model(tiny_model("llama"), tokenizer=tiny_tokenizer())
    fv.attribute_logits(fv.trace(model, FACT), [3])
    with torch.no_grad():
        model.geometry.unembed.original_component.weight.mul_(2)
        model.geometry.final_norm.original_component.weight.mul_(0.5)
    assert fv.attribute_logits(fv.trace(model, FACT), [3]).residual_error < 1e-5


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SMALL)), "an encoder"),
        (
            lambda: transformers.T5ForConditionalGeneration(
                transformers.T5Config(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
            ),
            "encoder-decoder",
        ),
        (
            lambda: transformers.MambaForCausalLM(
                transformers.MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=61)
            ),
            "no attention",
        ),
        (
            lambda: transformers.GPT2Model(
                transformers.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=61)
            ),
            "AutoModelForCausalLM",
        ),
        (
            lambda: transformers.OPTForCausalLM(
                transformers.OPTConfig(
                    hidden_size=32, ffn_dim=48, num_hidden_layers=1, num_attention_heads=4,
                    vocab_size=61, word_embed_proj_dim=16, do_layer_norm_before=False,
                )
            ),
            "no norm before the logits",
        ),
    ],
    ids=["bert", "t5", "mamba", "headless", "opt-350m"],
)  # fmt: skip
def test_what_cannot_be_decomposed_is_refused_by_name(made: Any, said: str) -> None:
    model = made()
    message = _refused(model, tokenizer=tiny_tokenizer())
    assert type(model).__name__ in message
    assert said in message


def test_a_folder_that_is_no_model(folder: Path, tmp_path: Path) -> None:
    assert "config.json is missing" in _refused(tmp_path)
    assert "is no folder" in _refused(folder / "config.json")
    assert "is no folder" in _refused("./nothing/here")
    (folder / "model.safetensors").write_bytes(b"\x10")
    assert "could not be loaded" in _refused(folder)
    (folder / "config.json").write_text('{"model_type": "martian"}')
    assert "martian" in _refused(folder)
    (folder / "config.json").write_text("{")
    assert "JSON" in _refused(folder)


def _saved(place: Path, family: str) -> Path:
    tiny_model(family).save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


def _reconfigured(place: Path, **changes: Any) -> None:
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | changes))


def _reweighted(place: Path, change: Any) -> None:
    weights = load_file(place / "model.safetensors")
    save_file(change(weights), place / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_layer": 5}, "lacks 'transformer.h.3.attn.c_attn.bias'"),
        ({"n_layer": 1}, "has beyond the model 'transformer.h.1.attn.c_attn.weight'"),
        ({"vocab_size": 70}, "has in another shape 'transformer.wte.weight'"),
        ({"tie_word_embeddings": False}, "lacks 'lm_head.weight'"),
    ],
)
def test_weights_that_do_not_fit_the_config(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    _reconfigured(_saved(tmp_path, "gpt2"), **changes)
    assert said in _refused(tmp_path)


def test_further_layers_are_seen_in_a_checkpoint_of_the_body(tmp_path: Path) -> None:
    _reconfigured(_saved(tmp_path, "gpt2"), n_layer=1)
    _reweighted(tmp_path, lambda w: {k.removeprefix("transformer."): v for k, v in w.items()})
    assert "has beyond the model 'h.1." in _refused(tmp_path)


def test_biases_that_the_config_leaves_out(folder: Path) -> None:
    _reconfigured(folder, attention_bias=False)
    assert "'model.layers.0.self_attn.k_proj.bias'" in _refused(folder)


def test_norms_that_the_config_leaves_out(folder: Path) -> None:
    extra = {"model.layers.0.post_feedforward_layernorm.weight": torch.ones(32)}
    _reweighted(folder, lambda weights: weights | extra)
    assert "post_feedforward_layernorm" in _refused(folder)


@pytest.mark.parametrize(
    ("family", "buffers"),
    [
        ("gpt2", ("transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias")),
        ("gptj", ("transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias")),
        ("llama", ("model.layers.0.self_attn.rotary_emb.inv_freq", "v_head.summary.weight")),
        ("neox-parallel", ("gpt_neox.layers.0.attention.bias",)),
    ],
)
def test_old_buffers_and_foreign_heads_do_no_harm(
    tmp_path: Path, family: str, buffers: tuple[str, ...]
) -> None:
    extra = {name: torch.ones(4, 4) for name in buffers}
    _reweighted(_saved(tmp_path, family), lambda weights: weights | extra)
    assert fv.load_model(tmp_path).n_layers == 3


# falcon-rw from a folder is refused by the check of its bridge, whatever its weights.
@pytest.mark.parametrize("family", sorted({*FAMILIES, *MORE_FAMILIES} - {"falcon-rw"}))
def test_every_family_loads_from_its_own_folder(tmp_path: Path, family: str) -> None:
    assert fv.load_model(_saved(tmp_path, family)).n_layers > 0


def test_pickled_weights_are_not_loaded(folder: Path) -> None:
    torch.save(tiny_model("llama").state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "pickled" in _refused(folder)


def test_code_in_a_folder_is_not_run(folder: Path) -> None:
    config = (folder / "config.json").read_text().rstrip().removesuffix("}")
    remote = '{"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}'
    config = config.replace('"llama"', '"unheard-of"')
    (folder / "config.json").write_text(f'{config}, "auto_map": {remote}}}')
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    assert "trust_remote_code" in _refused(folder)


def test_a_model_without_its_tokenizer(folder: Path) -> None:
    assert "pass tokenizer=" in _refused(tiny_model("gpt2"))
    for path in folder.glob("token*"):
        path.unlink()
    assert "no tokenizer" in _refused(folder)
    assert fv.load_model(folder, tokenizer=tiny_tokenizer()).name == "some-model"


def test_an_unknown_name_without_a_network_is_one_line() -> None:
    message = _refused("nobody/no-such-model")
    assert "'nobody/no-such-model' is not embedded (mini" in message
    assert "no network" in message


def test_no_network_is_noticed_before_anything_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: Any) -> None:
        raise OSError("Name or service not known")

    for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(names.huggingface_hub.constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(names.socket, "getaddrinfo", nowhere)
    assert names.is_offline()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_refused_as_names(text: str) -> None:
    assert _refused(text)


def test_a_hostile_folder_name_is_only_a_name(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.move(folder, place)
    assert fv.load_model(place).name == place.name


@pytest.mark.parametrize("source", [None, 3, "", "  "])
def test_what_is_no_name_at_all(source: Any) -> None:
    assert "is no model" in _refused(source)


def test_an_embedded_model_without_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(names, "_WEIGHTS", tmp_path)
    message = _refused("mini-gpt2")
    assert "'mini-gpt2' does not come with this version of factviz yet (here: none)" in message
    assert "train" not in message
    assert "'mini' has no weights" in _refused("mini")
    assert "mini.train makes them" in _refused("mini")


def test_only_embedded_models_that_are_here_are_offered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "config.json").touch()
    monkeypatch.setattr(names, "_WEIGHTS", tmp_path)
    assert "(here: mini)" in _refused("mini-gpt2")
    assert "is not embedded (mini), is" in _refused("nobody/no-such-model")
    assert "give 'mini', a folder" in _refused(3)


def test_what_is_no_tokenizer() -> None:
    for tokenizer in (object(), "gpt2"):
        assert "AutoTokenizer" in _refused(tiny_model("gpt2"), tokenizer=tokenizer)


def test_an_alibi_model_has_a_context_too() -> None:
    model = fv.load_model(tiny_model("mpt"), tokenizer=tiny_tokenizer())
    assert model.max_length == model.network.config.max_seq_len  # pyright: ignore


def test_a_bridge_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The parts of a wrongly cut Falcon add up, to the wrong logit: only this check sees it."""
    monkeypatch.setattr(repairs, "repair", lambda _: None)
    for family in ("falcon-40b", "falcon-rw"):
        message = _refused(tiny_model(family), tokenizer=tiny_tokenizer())
        assert "differ from the plain model's" in message
