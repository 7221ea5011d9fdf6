from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factviz  # noqa: F401 - registers the views
from factviz.facts.errors import FactvizError
from factviz.results import storage
from factviz.results.opening import open_result
from tests import factories, parsed
from tests.hostile import HOSTILE


def same(left, right):
    assert left.dataset.identical(right.dataset)
    for name, variable in left.dataset.variables.items():
        assert variable.dtype == right.dataset.variables[name].dtype, name
        assert variable.values.tobytes() == right.dataset.variables[name].values.tobytes() or (
            variable.dtype == object
        )
    assert left.provenance == right.provenance
    assert type(left) is type(right)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [factories.attribution, factories.several])
def test_an_opened_result_equals_the_saved_one(tmp_path, make, dtype):
    result = make(dtype=dtype)
    opened = open_result(result.save(tmp_path / "x.html"))
    same(opened, result)
    assert repr(opened) == repr(result)
    assert opened.single == result.single


@pytest.mark.parametrize(
    "choice",
    [
        {"fact": 1, "attribute": "Tokyo", "order": "layer", "top": 5, "limit": 2.0},
        {"top": np.int64(3), "limit": np.float32(0.5)},
    ],
)
def test_what_was_chosen_to_be_drawn_comes_back(tmp_path, choice):
    result = factories.several().view(**choice)
    opened = open_result(result.save(tmp_path / "x.html"))
    same(opened, result)
    assert opened.view_options == choice


def test_a_file_without_choices_opens(saved):
    path, text = saved
    block, content = stored_block(text)
    del content["view"]
    path.write_text(text.replace(block, json.dumps(content)), encoding="utf-8")
    assert open_result(path).view_options == {}


def test_hostile_text_comes_back(tmp_path):
    result = factories.hostile(HOSTILE)
    same(open_result(result.save(tmp_path / "x.html")), result)


words = st.one_of(st.sampled_from([t for t in HOSTILE if t != "\ud83d"]), st.text(max_size=12))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    tokens=st.lists(st.lists(words, min_size=2, max_size=5), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    name=words,
)
def test_any_text_comes_back(tmp_path, tokens, seed, name):
    result = factories.attribution(
        tokens,
        [["subject"] * (len(row) - 1) + ["end"] for row in tokens],
        tokens,
        [["answer"] + ["same_relation"] * (len(row) - 1) for row in tokens],
        layers=2,
        heads=2,
        seed=seed,
        model=name,
    )
    same(open_result(result.save(tmp_path / "x.html")), result)


def stored_block(text: str) -> tuple[str, dict]:
    page = parsed.page(text)
    (block,) = page.all("script", class_="factviz-result")
    return block.text, json.loads(block.text)


@pytest.fixture
def saved(tmp_path):
    path = factories.attribution().save(tmp_path / "x.html")
    return path, path.read_text(encoding="utf-8")


def refused(path, words: str) -> None:
    with pytest.raises(FactvizError, match=words) as caught:
        open_result(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.html", "No such file")


def test_a_folder(tmp_path):
    refused(tmp_path, "cannot open")


@pytest.mark.parametrize(
    "content", [b"", b"<html>hello</html>", b"fact,component\n", b"\xff\xfe\x00", b"\x89PNG\r\n"]
)
def test_other_files(tmp_path, content):
    (tmp_path / "x.html").write_bytes(content)
    refused(tmp_path / "x.html", "no result saved by factviz")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.6, 0.7])
def test_a_file_that_is_cut_off(saved, part):
    path, text = saved
    block, _ = stored_block(text)
    end = text.index(block) + int(len(block) * part)
    path.write_text(text[:end], encoding="utf-8")
    refused(path, "cut off|holds no arrays")


def changed(path, text, **values):
    block, content = stored_block(text)
    content |= values
    path.write_text(text.replace(block, json.dumps(content)), encoding="utf-8")


@pytest.mark.parametrize(
    "values",
    [
        {"npz": "AAAA"},
        {"npz": "not base64!"},
        {"npz": None},
        {"sha256": "0" * 64},
        {"format": "other"},
        {"version": 2},
        {"kind": "os.system"},
        {"kind": ["Attribution"]},
        {"variables": {}},
        {"variables": None},
        {"coords": ["nothing"]},
        {"attrs": 3},
        {"provenance": 3},
        {"view": 3},
        {"view": ["top"]},
        {"view": {"nonsense": 1}},
        {"view": {"self": 1}},
        {"view": {"fact": 7}},
        {"view": {"top": "many"}},
        {"view": {"attribute": [1]}},
        {"view": {"order": {"a": "b\nc"}}},
        {"view": {"limit": float("nan")}},
    ],
)
def test_a_file_that_was_changed(saved, values):
    path, text = saved
    changed(path, text, **values)
    refused(path, "no result saved by factviz")


def _with_npz(path, text, packed: bytes) -> None:
    import hashlib

    changed(
        path,
        text,
        npz=base64.b64encode(packed).decode(),
        sha256=hashlib.sha256(packed).hexdigest(),
    )


class Bomb:
    fired = False

    def __reduce__(self):
        return (_fire, ())


def _fire():
    Bomb.fired = True


def test_a_pickle_in_the_arrays_is_never_loaded(saved):
    path, text = saved
    stream = io.BytesIO()
    np.savez(stream, a0=np.array([Bomb()], dtype=object))
    _with_npz(path, text, stream.getvalue())
    refused(path, "no result saved by factviz")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a0.npy", pickle.dumps(Bomb()))
    _with_npz(path, text, stream.getvalue())
    refused(path, "no result saved by factviz")
    assert not Bomb.fired


def test_an_archive_that_claims_too_much_is_not_unpacked(saved, monkeypatch):
    path, _ = saved
    monkeypatch.setattr(storage, "MAX_BYTES", 1000)
    refused(path, "more than")


def test_arrays_of_another_shape_are_refused(saved):
    path, text = saved
    _, content = stored_block(text)
    variables = content["variables"]
    variables["mlps"]["array"] = variables["embedding"]["array"]
    changed(path, text, variables=variables)
    refused(path, "no result saved by factviz")


def test_provenance_is_plain_json():
    result = factories.attribution(pair=(1, 2))
    assert result.provenance["pair"] == [1, 2]
