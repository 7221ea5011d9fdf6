"""What is installed: the files of the wheel, a clean environment, an import without weight."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = ("torch", "transformers", "transformer_lens", "xarray", "pandas", "matplotlib", "anywidget")
ATTRIBUTE = [
    *("attribute", "Fact: The Colosseum is in the country of"),
    *("--subject", "The Colosseum", "--answer", "Italy"),
]


def _source_files() -> set[str]:
    files = (path.relative_to(ROOT) for path in (ROOT / "factviz").rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in files
        if "__pycache__" not in path.parts and path.name != ".DS_Store"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_has_every_file_of_the_package(members: set[str]):
    # A line in .gitignore is enough to drop weights or the bundle from a wheel without a word.
    packed = {name for name in members if ".dist-info/" not in name}
    assert packed == _source_files()


def test_wheel_has_what_no_import_would_miss(members: set[str]):
    weights = "factviz/models/mini/weights/"
    wanted = {
        "factviz/py.typed",
        "factviz/views/static/factviz.js",
        "factviz/views/static/LICENSES.txt",
        "factviz/facts/tables/country.csv",
        "factviz/facts/tables/landmark.csv",
        "factviz/facts/tables/experiments/fiction.csv",
        "factviz/models/mini/filler.txt",
        *(
            f"{weights}{model}/{name}"
            for model in ("mini", "mini-propagation", "mini-gpt2", "mini/steps/500")
            for name in ("model.safetensors", "tokenizer.json", "config.json")
        ),
    }
    assert wanted <= members
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in members)


def test_wheel_stays_small_and_to_the_point(wheel: Path, members: set[str]):
    assert wheel.stat().st_size < 45_000_000
    foreign = [n for n in members if n.endswith((".ipynb", ".pt", ".bin", ".pkl")) or "node_" in n]
    assert foreign == []


def test_wheel_says_what_it_is(wheel: Path, members: set[str]):
    import factviz

    info = next(name for name in members if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        told = Parser().parsestr(archive.read(info).decode())
        entry = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    assert told["Name"] == "factviz"
    assert told["Version"] == factviz.__version__
    assert told["Requires-Python"] == ">=3.11"
    assert told["License-Expression"] == "MIT"
    assert set(told.get_all("Provides-Extra")) == {"lab", "sweep", "dev"}
    assert "factviz = factviz.cli:main" in entry


@pytest.mark.timeout(1200)
def test_wheel_works_in_a_clean_environment(wheel: Path, tmp_path: Path):
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    pins = ROOT / "constraints.txt"
    install = [scripts / "python", "-m", "pip", "install", "--quiet", "--no-compile", "-c", pins]
    subprocess.run([*install, wheel], check=True, cwd=tmp_path)

    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = clean | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for arguments in (["--version"], [*ATTRIBUTE, "--out", "colosseum.html"]):
        subprocess.run([scripts / "factviz", *arguments], check=True, cwd=tmp_path, env=environment)
    page = (tmp_path / "colosseum.html").read_text(encoding="utf-8")
    assert "Colosseum" in page
    where = subprocess.run(
        [scripts / "python", "-c", "import factviz; print(factviz.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert str(home) in where.stdout  # and not this checkout


def _closure():
    spec = importlib.util.spec_from_file_location("constraints", ROOT / ".ci" / "constraints.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.closure


def test_core_brings_no_server_and_no_kernel():
    core = _closure()("factviz", set())
    assert "anywidget" in core
    assert not {"ipykernel", "jupyterlab", "jupyter-server", "notebook", "distributed"} & set(core)


def test_every_requirement_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    missing = set(_closure()("factviz", {"lab", "sweep", "dev"})) - {"factviz"} - set(pins)
    # What PyTorch's build for graphics cards needs, it pins itself; the pins come from the other.
    cards = ("nvidia-", "cuda-", "triton")
    assert [name for name in missing if not name.startswith(cards)] == []
    assert pins["torch"] == "2.13.0"
    assert all("+" not in version for version in pins.values())


def test_import_brings_nothing_heavy():
    code = f"import sys, factviz; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import factviz

    for name in factviz.__all__:
        assert getattr(factviz, name) is not None
    assert set(factviz.__all__) <= set(dir(factviz))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = factviz.no_such_name


def test_type_checkers_see_the_public_names():
    """The stub names what the lazy table loads, from the same places."""
    stub = ast.parse((ROOT / "factviz" / "__init__.pyi").read_text(encoding="utf-8"))
    found = {
        f"{node.module}.{alias.name}": alias.asname
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    import factviz

    names = set(factviz.__all__) - {"__version__"}
    assert set(found.values()) == names
    for place, name in found.items():
        module, _, inner = place.rpartition(".")
        assert getattr(factviz, name) is getattr(importlib.import_module(module), inner)


def test_rooms_import_downwards_only():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout
