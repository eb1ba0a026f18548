"""What importing costs and brings, and that every documented name has a runnable example."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gmm_lit

NBS = Path(__file__).resolve().parent.parent / "nbs"
MODULES = sorted(m.name for m in pkgutil.iter_modules(gmm_lit.__path__) if not m.name.startswith("_"))


def fresh(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_brings_in_little():
    loaded = fresh("import sys, gmm_lit; print(*sys.modules)")
    for heavy in ("matplotlib", "sklearn", "nbdev", "fastcore", "IPython", "pandas", "tqdm", "scipy.linalg", "scipy.stats"):
        assert heavy not in loaded, f"import gmm_lit loads {heavy}"


def test_imports_point_from_higher_numbers_to_lower():
    chapters = sorted((path.stem for path in NBS.glob("[0-9][0-9]*_*.ipynb")), key=lambda stem: stem.split("_"))
    order = [name for name in (stem.split("_", 1)[1] for stem in chapters) if name in MODULES]
    assert order[:4] == ["datasets", "densities", "em", "engine"]
    for i, name in enumerate(order):
        text = inspect.getsource(importlib.import_module(f"gmm_lit.{name}"))
        top = [line for line in text.splitlines() if line.startswith(("from .", "from gmm_lit", "import gmm_lit"))]
        for line in top:
            source = line.split()[1].removeprefix("gmm_lit").lstrip(".")
            assert source in order[:i] or not source, f"{name}: {line}"         # the command line asks for the version


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(f"gmm_lit.{name}")
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name):
    module = importlib.import_module(f"gmm_lit.{name}")
    for public in getattr(module, "__all__", []):
        thing = getattr(module, public)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert thing.__doc__, f"{name}.{public} has no docstring"


def test_branches_on_a_type_stand_in_the_registry_only():
    for name in MODULES:
        if name in ("covariances", "command_line"):
            continue
        source = inspect.getsource(importlib.import_module(f"gmm_lit.{name}"))
        for covariance_type in ("full", "tied", "diag", "spherical"):
            assert f'== "{covariance_type}"' not in source and f"== '{covariance_type}'" not in source
