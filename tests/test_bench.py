"""The benchmark runs from start to end, and its results have the form that chapter 20 reads."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCH, RESULTS = ROOT / ".ci" / "bench.py", ROOT / "nbs" / "benchmarks.json"
PACKAGES = {"gmm_lit", "scikit-learn"}
SHAPE = {"structure", "rows", "features", "components"}
RACE = SHAPE | {"seconds", "ratio", "low", "high"}
KEYS = {
    "iteration": RACE | {"gain", "iterations"},
    "fit": RACE | {"gain", "iterations", "data", "scores"},
    "predict": RACE | {"method"},
    "float32": RACE | {"gain", "iterations"},
    "memory": SHAPE | {"extra"},
    "cost": {"against", "slope", "points"},
    "profile": SHAPE | {"parts"},
    "quality": SHAPE | {"data", "scores", "gain", "error"},
    "threads": SHAPE | {"seconds"},
    "small": SHAPE | {"parts", "call", "exp", "product"},
}


def check_form(results):
    assert set(results) == {"date", "sizes", "minutes", "versions", "machine", "matmul", "summary", *KEYS}
    assert set(results["versions"]) == {"python", "numpy", "scipy", "scikit-learn", "gmm_lit", "blas"}
    assert set(results["machine"]) == {"cpu", "cores", "caches", "system", "load"}
    assert set(results["matmul"]) == SHAPE | {"rates", "best", "iteration", "share"}
    assert set(results["summary"]) == {"iteration", "fit", "predict", "float32", "gain", "quality", "share", "memory"}
    assert all(math.isfinite(value) for value in results["summary"].values())
    for section, keys in KEYS.items():
        assert results[section] and all(set(record) == keys for record in results[section]), section
    assert [cost["against"] for cost in results["cost"]] == ["rows", "features", "components"]
    assert all(set(record["extra"]) == PACKAGES for record in results["memory"])


def races(results):
    sections = [results[name] for name in ("iteration", "fit", "predict")] + [cost["points"] for cost in results["cost"]]
    return [record for section in sections for record in section]


def check_numbers(results):
    for record in races(results):
        assert record["seconds"].keys() == record.get("iterations", record["seconds"]).keys()
        assert set(record["seconds"]) == PACKAGES
        assert all(second > 0 for repeats in record["seconds"].values() for second in repeats)
        assert 0 < record["low"] <= record["high"] and record["ratio"] > 0
    for record in results["iteration"]:
        assert abs(record["gain"]) < 1e-9, "from the same start, both arrive at the same log-likelihood"
    for record in results["float32"]:
        assert set(record["seconds"]) == {"float32", "float64"} and abs(record["gain"]) < 1e-3


def check_nothing_private(text):
    assert str(ROOT) not in text and '"/' not in text, "no paths"


@pytest.mark.slow
def test_quick_run(tmp_path):
    pytest.importorskip("sklearn")
    out = tmp_path / "results.json"
    done = subprocess.run([sys.executable, BENCH, "--quick", "--out", out], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "One iteration, times scikit-learn" in done.stdout
    text = out.read_text(encoding="utf-8")
    results = json.loads(text)
    check_form(results)
    check_numbers(results)
    check_nothing_private(text)
    assert results["sizes"] == "tiny"


def test_results_of_the_book():
    text = RESULTS.read_text(encoding="utf-8")
    results = json.loads(text)
    check_form(results)
    check_numbers(results)
    check_nothing_private(text)
    assert results["sizes"] == "all", "the book shows a full run"


def test_without_scikit_learn(tmp_path):
    program = f"import sys, runpy; sys.modules['sklearn'] = None; sys.argv = ['bench.py', '--out', 'none.json']; runpy.run_path({str(BENCH)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    assert len(done.stdout.splitlines()) == 1 and "pip install scikit-learn" in done.stdout
    assert not list(tmp_path.iterdir())
