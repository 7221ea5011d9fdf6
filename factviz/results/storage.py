"""A result as JSON that holds its arrays, and back: exactly, and without trusting the file.

Numbers travel as one npz (never pickled) in base64, text as JSON lists, so that neither encodings
nor NumPy's fixed-width strings can change a token.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from typing import Any

import numpy as np
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.base import Result

FORMAT = "factviz-result"
VERSION = 1
# A few kilobytes of zip can claim terabytes: refuse before anything is unpacked.
MAX_BYTES = 4 << 30
_NUMERIC = "biuf"


def _variable(name: str, variable: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    entry = {"dims": list(variable.dims), "attrs": dict(variable.attrs)}
    values = np.asarray(variable.values)
    if values.dtype.kind in _NUMERIC:
        key = f"a{len(numbers)}"
        numbers[key] = values
        return entry | {"array": key}
    dtype = values.dtype.str if values.dtype.kind == "U" else "O"
    texts = [str(text) for text in values.ravel()]
    return entry | {"text": texts, "dtype": dtype, "shape": list(values.shape)}


def stored(result: Result) -> dict[str, Any]:
    """The result as plain JSON: kind, provenance, view, dims, attributes, arrays."""
    data = result.dataset
    numbers: dict[str, Any] = {}
    variables = {str(n): _variable(str(n), data.variables[n], numbers) for n in data.variables}
    stream = io.BytesIO()
    np.savez_compressed(stream, **numbers)
    packed = stream.getvalue()
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": result.kind,
        "provenance": result.provenance,
        "view": result.view_options,
        "attrs": dict(data.attrs),
        "coords": [str(name) for name in data.coords],
        "variables": variables,
        "sha256": hashlib.sha256(packed).hexdigest(),
        "npz": base64.b64encode(packed).decode("ascii"),
    }


def _numbers(content: dict[str, Any]) -> dict[str, Any]:
    packed = base64.b64decode(content["npz"], validate=True)
    if hashlib.sha256(packed).hexdigest() != content["sha256"]:
        raise FactvizError("its arrays are not those that were saved")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise FactvizError("its arrays would take more than 4 GB")
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _values(entry: dict[str, Any], numbers: dict[str, Any]) -> Any:
    if "array" in entry:
        return numbers[entry["array"]]
    dtype = np.dtype(str(entry["dtype"]))
    if dtype.kind not in "UO" or not all(isinstance(text, str) for text in entry["text"]):
        raise FactvizError("its text is not text")
    flat = np.empty(len(entry["text"]), dtype=dtype)
    flat[:] = entry["text"]
    return flat.reshape([int(size) for size in entry["shape"]])


def dataset(content: dict[str, Any]) -> xr.Dataset:
    """The arrays of `stored` again.

    Raises
    ------
    FactvizError, or whatever the libraries say
        If the content is not what `stored` writes; the caller names the file.
    """
    numbers = _numbers(content)
    found = {
        name: xr.Variable(entry["dims"], _values(entry, numbers), entry["attrs"])
        for name, entry in content["variables"].items()
    }
    coords = {name: found.pop(name) for name in content["coords"]}
    return xr.Dataset(found, coords=coords, attrs=content["attrs"])
