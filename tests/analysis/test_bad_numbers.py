"""Numbers of the wrong kind are refused in one sentence by every analysis of Key Mechanisms.

None of them may run with another number than was asked for, and none may show a traceback of
NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import factviz as fv
from tests.analysis import planted_heads as planted

Ask = Callable[..., Any]


def _edit(model: fv.FactModel, _facts: Any, **options: Any) -> None:
    with fv.edit_head(model, options.pop("layer", 0), options.pop("head", 1), **options):
        pass


ASK: dict[str, Ask] = {
    "paths": lambda m, f, **o: fv.patch_paths(m, f, o.pop("others", "other topic"), **o),
    "movers": fv.find_movers,
    "suppressors": fv.find_suppressors,
    "mitigate": lambda m, f, **o: fv.mitigate(m, f, [0, 1], components="L0H1", **o),
    "mlps": fv.decompose_mlps,
    "tokens": fv.follow_tokens,
    "edits": lambda m, f, **o: fv.compare_edits(m, f, "L0H1", scale=0, **o),
    "shots": fv.compare_shots,
    "edit": _edit,
}
SEEDED = [name for name in ASK if name != "edit"]


@pytest.fixture(scope="module")
def model() -> fv.FactModel:
    return planted.suppressor()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {"seed": seed}) for name in SEEDED for seed in (-1, "a", 1.5)),
        *((name, {"facts": 5}) for name in SEEDED),
        ("paths", {"others": None}),
        ("paths", {"controls": 1.5}),
        ("paths", {"controls": None}),
        ("movers", {"min_attention": "a"}),
        ("movers", {"alpha": None}),
        ("movers", {"k": 1.5}),
        ("movers", {"n_boot": 2.5}),
        ("suppressors", {"layers": 0.7}),
        ("suppressors", {"layers": [0.7]}),
        ("suppressors", {"layers": "0"}),
        ("suppressors", {"layers": True}),
        ("suppressors", {"layers": [None]}),
        ("suppressors", {"controls": 1.5}),
        ("suppressors", {"k": "a"}),
        ("suppressors", {"n_boot": None}),
        ("mitigate", {"bins": 1.5}),
        ("mitigate", {"controls": "a"}),
        ("mlps", {"layers": [True]}),
        ("mlps", {"folds": 2.5}),
        ("mlps", {"folds": "a"}),
        ("mlps", {"n_boot": 2.5}),
        ("mlps", {"k": 1.5}),
        ("mlps", {"solver": "sgd", "steps": 1.5}),
        ("mlps", {"rate": "a"}),
        ("edits", {"controls": 1.5}),
        ("shots", {"counts": 1.5}),
        ("shots", {"counts": None}),
        ("shots", {"controls": 1.5}),
        ("edit", {"scale": 0, "head": None}),
        ("edit", {"remove": True}),
        ("edit", {"remove": 1.5}),
        ("edit", {"remove": [["a"]]}),
        ("edit", {"remove": np.array(["a"])}),
        ("edit", {"remove": NotImplemented}),
        ("edit", {"remove": "\ud83d"}),
    ],
    ids=str,
)
def test_a_number_of_the_wrong_kind_is_refused(
    model: fv.FactModel, name: str, options: dict[str, Any]
) -> None:
    facts = options.get("facts", planted.facts())
    with pytest.raises(fv.FactvizError) as caught:
        ASK[name](model, facts, **{k: v for k, v in options.items() if k != "facts"})
    assert "\n" not in str(caught.value)
    value = next(iter(reversed(options.values())))
    assert repr(value)[:10] in str(caught.value) or isinstance(value, (list, np.ndarray))


def test_numbers_of_numpy_are_as_good() -> None:
    model = fv.load_model("mini-gpt2")
    facts = fv.FactSet.builtin().select(relation="country_capital")[:4]
    top = int(model.top_ids(facts[:1], 1)[0][0])
    one, two = np.int64(1), np.int32(2)
    for receiver, same in ((("q", one, two), ("q", 1, 2)), (("mlp", one), ("mlp", 1))):
        made = [
            fv.patch_paths(model, facts[0], facts[1:], receiver=each, at=at, target=target)
            for each, at, target in ((receiver, -one, np.int64(top)), (same, -1, top))
        ]
        assert made[0].dataset.identical(made[1].dataset)
    first, second = (fv.find_suppressors(model, facts, layers=i, n_boot=2) for i in (one, 1))
    assert first.dataset.identical(second.dataset)
    with fv.edit_head(model, one, two, remove=np.int64(5)) as edit:
        assert edit.share > 0


@pytest.mark.parametrize("name", SEEDED)
def test_the_name_of_a_model_is_no_model(name: str) -> None:
    with pytest.raises(fv.FactvizError, match="the model is 'mini': give what load_model gives"):
        ASK[name]("mini", planted.facts())


@pytest.mark.parametrize("wrong", [0.5, True, "0", -1, 99])
def test_views_of_what_is_not_there_are_refused(model: fv.FactModel, wrong: Any) -> None:
    facts = planted.facts()
    paths = fv.patch_paths(model, facts, facts[::-1], mode="mean")
    movers = fv.find_movers(model, facts, n_boot=2, n_shuffles=2)
    with pytest.raises(fv.FactvizError, match="no fact"):
        paths.view(fact=wrong)
    with pytest.raises(fv.FactvizError, match="no head"):
        movers.view(layer=wrong, head=0)
    if wrong != 99:
        with pytest.raises(fv.FactvizError, match="senders can't be listed"):
            paths.view(top=wrong)
    scaled = fv.mitigate(model, facts, [0, 1], components="L0H1", n_boot=2)
    with pytest.raises(fv.FactvizError, match="is unknown: accuracy"):
        scaled.curve(wrong)
