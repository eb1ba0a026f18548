"""Any source of rows gives what an array of them gives: to the bit, whatever the pieces, for whatever is asked."""

import gc
import io
import json
import subprocess
import sys
import threading
import time
import warnings
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest

from gmm_lit import GaussianMixture
from gmm_lit.covariances import STRUCTURES
from gmm_lit.densities import FullForm
from gmm_lit.initializers import InitializationError
from gmm_lit.scale import Reservoir, Source, open_source, read_ahead

RNG = np.random.default_rng(0)
MEANS = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 1.0], [0.0, 5.0, -4.0]])
X = MEANS[RNG.integers(3, size=70_001)] + RNG.normal(size=(70_001, 3)) * [1, 0.5, 2]
START = dict(n_components=3, weights_init=[0.3, 0.3, 0.4], means_init=MEANS + 0.7, max_iter=4, tol=0)
NAMES = ("weights_", "means_", "covariances_", "lower_bounds_")


def fit(rows, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GaussianMixture(**(START | options)).fit(rows)


def same_bits(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in NAMES)


def in_pieces(rows, m):
    return Source(lambda _: (rows[i:i + m] for i in range(0, len(rows), m)))


def given(structure):
    shape = structure.shape(3, 3)
    return np.broadcast_to(np.eye(3) if structure.form is FullForm else 1.0, shape)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_every_structure(covariance_type):
    options = dict(covariance_type=covariance_type, precisions_init=given(STRUCTURES[covariance_type]))
    assert same_bits(fit(X, **options), fit(in_pieces(X, 9973), **options))


@pytest.mark.parametrize("m", [1, 700, 16_384, 70_000, 10 ** 6])
def test_pieces_of_any_size(m):
    rows = X[:3000] if m == 1 else X
    options = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    assert same_bits(fit(rows, **options), fit(in_pieces(rows, m), **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, ">f8", bool])
def test_kinds_of_numbers(dtype, tmp_path):
    rows = (X[:5000] > 1 if dtype is bool else X[:5000]).astype(dtype)
    options = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    expected = fit(rows, **options)
    assert same_bits(expected, fit(in_pieces(rows, 999), **options))
    np.save(tmp_path / "rows.npy", rows)
    assert same_bits(expected, fit(tmp_path / "rows.npy", **options))


def test_hard_numbers_take_the_second_look():
    rows = MEANS[RNG.integers(3, size=5000)] * 1e3 + 1e-4 * RNG.normal(size=(5000, 3)) + 1e6
    options = dict(means_init=MEANS * 1e3 + 1e6, precisions_init=np.tile(np.eye(3), (3, 1, 1)), reg_covar=0)
    assert same_bits(fit(rows, **options), fit(in_pieces(rows, 613), **options))


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data", "random", "short_runs"])
@pytest.mark.thorough
def test_starts_from_all_rows_where_they_are_few(init_params):
    options = dict(init_params=init_params, weights_init=None, means_init=None, random_state=3, max_iter=20)
    assert same_bits(fit(X[:9000], **options), fit(in_pieces(X[:9000], 77), **options))


def test_labels_as_a_start():
    labels = np.arange(len(X)) % 3
    few = dict(init_params=labels[:9000], weights_init=None, means_init=None)
    assert same_bits(fit(X[:9000], **few), fit(in_pieces(X[:9000], 77), **few))
    with pytest.raises(InitializationError, match="sample"):
        fit(in_pieces(X, 9000), init_params=labels, weights_init=None, means_init=None)


def test_weights_of_rows():
    weight = np.random.default_rng(5).integers(0, 3, 30_000).astype(float)
    some, source = X[:30_000], in_pieces(X[:30_000], 4999)
    def weighted(rows):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return GaussianMixture(**START, precisions_init=np.tile(np.eye(3), (3, 1, 1))).fit(rows, sample_weight=weight)
    a, b = weighted(some), weighted(source)
    for name in NAMES: np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(a.score(some, sample_weight=weight), b.score(source, sample_weight=weight), rtol=1e-12)
    from_sample = [GaussianMixture(3, random_state=0).fit(rows, sample_weight=weight).lower_bound_ for rows in (some, source)]
    np.testing.assert_allclose(*from_sample, rtol=1e-6)


def test_options_of_the_estimator():
    for options in (dict(accelerate="squarem"), dict(prior="default"), dict(update="mc"), dict(n_jobs=1), dict(n_jobs=3)):
        assert same_bits(fit(X[:30_000], random_state=0, **options), fit(in_pieces(X[:30_000], 8191), random_state=0, **options))


def test_answers(tmp_path):
    gm, source = fit(X), in_pieces(X, 4321)
    np.testing.assert_array_equal(gm.predict(source), gm.predict(X))
    np.testing.assert_allclose(gm.predict_proba(source), gm.predict_proba(X), atol=1e-13)
    np.testing.assert_allclose(gm.score_samples(source), gm.score_samples(X), rtol=1e-12)
    np.testing.assert_allclose(gm.score(source), gm.score(X), rtol=1e-13)
    np.testing.assert_allclose(gm.bic(source), gm.bic(X), rtol=1e-12)
    for rows in (source, X):
        written = gm.predict_proba(rows, out=str(tmp_path / "resp.npy"))
        np.testing.assert_allclose(written, gm.predict_proba(X), atol=1e-13)
    with pytest.raises(ValueError, match="out must have shape"): gm.predict(source, out=np.empty(len(X) - 1, int))
    with pytest.raises(ValueError, match="features"): gm.predict(in_pieces(X[:, :2], 100))


def test_bad_rows_keep_their_numbers():
    rows = X.copy()
    bad = np.sort(RNG.choice(len(rows), 500, replace=False))
    rows[bad, RNG.integers(3, size=500)] = RNG.choice([np.nan, np.inf, -np.inf, 1e150], 500)
    with pytest.raises(ValueError, match=f"first in row {bad[0]}, column"): in_pieces(rows, 5003)
    source = Source(lambda _: np.array_split(rows, 17), bad="leave_out")
    np.testing.assert_array_equal(source.bad_numbers, bad)
    good = np.delete(rows, bad, axis=0)
    options = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    gm = fit(source, **options)
    assert len(source) == len(good) and same_bits(gm, fit(good, **options))
    labels, scores = gm.predict(source), gm.score_samples(source)
    assert np.array_equal(np.flatnonzero(labels == -1), bad) and np.array_equal(np.flatnonzero(np.isnan(scores)), bad)
    np.testing.assert_allclose(np.delete(scores, bad), gm.score_samples(good), rtol=1e-12)


def test_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('name,"x, in m",y\r\na,1,2\r\n\r\nb,3,4\r\nc,,5\r\nd,NA,6\r\n"e",7,"8"\r\nf,9\r\n')
    source = open_source(path, columns=["x, in m", "y"], bad="leave_out")
    assert len(source) == 3 and source.bad_numbers.tolist() == [2, 3, 5]
    np.testing.assert_array_equal(source.sample, [[1, 2], [3, 4], [7, 8]])
    with pytest.raises(ValueError, match="row 0, column 0"): open_source(path)      # names of things are not numbers
    with pytest.raises(ValueError, match="among name"): open_source(path, columns=["z"])
    (tmp_path / "b.csv").write_text("1,2\n3,4")
    np.testing.assert_array_equal(open_source(tmp_path / "b.csv", columns=[1]).sample, [[2], [4]])
    (tmp_path / "c.csv").write_text("")
    with pytest.raises(ValueError): open_source(tmp_path / "c.csv")


def test_arrow(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.dataset as ds
    import pyarrow.feather as feather
    import pyarrow.parquet as pq
    table = pa.table({"x": X[:5000, 0], "k": np.arange(5000, dtype=np.int32), "z": X[:5000, 2], "s": ["word"] * 5000})
    (tmp_path / "many").mkdir()
    for i in range(5): pq.write_table(table.slice(1000 * i, 1000), tmp_path / "many" / f"{i}.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    expected = np.column_stack([X[:5000, 0], np.arange(5000.0), X[:5000, 2]])
    for form in (tmp_path / "many", tmp_path / "a.feather", table, ds.dataset(str(tmp_path / "many"))):
        np.testing.assert_array_equal(open_source(form, columns=["x", "k", "z"]).sample, expected)
        with pytest.raises(TypeError, match="s .string."): open_source(form)
    numbers = table.select(["x", "z"])
    given = dict(means_init=MEANS[:, [0, 2]], precisions_init=np.tile(np.eye(2), (3, 1, 1)))
    assert same_bits(fit(numbers, **given), fit(expected[:, [0, 2]], **given))
    holes = pa.table({"x": [1.0, None, 3.0], "k": pa.array([1, 2, None], pa.int64())})
    assert open_source(holes, bad="leave_out").bad_numbers.tolist() == [1, 2]
    with pytest.raises((ValueError, KeyError)): open_source(table, columns=["no"])


def test_data_frames_in_pieces(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:5000], columns=list("abc"))
    frame.to_csv(tmp_path / "a.csv", index=False)
    pieces = lambda: pd.read_csv(tmp_path / "a.csv", chunksize=700, float_precision="round_trip")
    options = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    assert same_bits(fit(X[:5000], **options), fit(pieces, **options))


@pytest.mark.parametrize("broken", ["changes", "raises", "shrinks"])
@pytest.mark.thorough
def test_a_source_that_breaks_in_a_later_pass(broken):
    calls = []

    def pieces(rows):
        calls.append(1)
        yield X[:1000]
        if len(calls) > 2 and broken == "raises": raise OSError("the disk is gone")
        if not (len(calls) > 2 and broken == "shrinks"): yield X[1000:2000]
        if len(calls) > 2 and broken == "changes": yield X[:70]

    threads = threading.active_count()
    with pytest.raises(OSError if broken == "raises" else RuntimeError): fit(Source(pieces), precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    gc.collect()
    assert threading.active_count() == threads, "no thread is left behind"


def test_what_is_no_source(tmp_path):
    with pytest.raises(FileNotFoundError, match="no.npy"): fit("no.npy")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(ValueError, match=".npy, .csv"): fit(tmp_path / "a.txt")
    np.save(tmp_path / "flat.npy", X[:, 0])
    with pytest.raises(ValueError, match="shape"): fit(tmp_path / "flat.npy")
    with pytest.raises(ValueError, match="bad must be"): open_source(X, bad="ignore")
    with pytest.raises(ValueError, match="pieces of shape"): open_source(lambda: [X[:, 0]])
    with pytest.raises(ValueError, match="minimum of 2"): fit(lambda: [X[:1]])
    np.save(tmp_path / "cut.npy", X)
    whole = (tmp_path / "cut.npy").read_bytes()
    source = open_source(tmp_path / "cut.npy")
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="ends too early"): fit(source)


@pytest.mark.thorough
def test_a_bar_shows_rows_a_second():
    shown = io.StringIO()
    with redirect_stderr(shown): fit(open_source(lambda: np.array_split(X, 9), progress=False))
    assert shown.getvalue() == ""
    with redirect_stderr(shown):
        source = open_source(X, progress=True)
        for _ in source._shown(iter([X[:35_000], X[35_000:]]), "fitting"): time.sleep(1.1)
    assert "fitting" in shown.getvalue() and "rows/s" in shown.getvalue()


def test_reading_ahead_gives_up_with_its_user():
    seen = []
    items = read_ahead((seen.append(i) or i for i in range(10 ** 6)), depth=3)
    assert next(items) == 0
    items.close()
    assert len(seen) < 10 and not [t for t in threading.enumerate() if t.daemon and t.name.startswith("Thread-") and "read" in t.name]


def test_samples_do_not_depend_on_pieces():
    a, b = in_pieces(X, 100), in_pieces(X, 33_333)
    assert len(a.sample) == 65_536
    np.testing.assert_array_equal(a.sample, b.sample)
    np.testing.assert_array_equal(a.sample, X[a.sample_numbers])


ROOT = Path(__file__).resolve().parent.parent


def check_results(text):
    results = json.loads(text)
    assert set(results) == {"date", "sizes", "minutes", "versions", "machine", "file", "cost", "messages", "cluster", "kills"}
    assert str(ROOT) not in text and '"/' not in text, "no paths"
    assert results["file"]["difference"] == 0 and results["cluster"]["difference"] < 1e-10
    assert all(run["difference"] == 0 and run["killed"] == 1 for run in results["kills"]["runs"])
    return results


def test_results_of_the_book():
    results = check_results((ROOT / "nbs" / "scale.json").read_text(encoding="utf-8"))
    file, cluster = results["file"], results["cluster"]
    assert (file["rows"], file["features"], file["components"], file["passes"]) == (100_000_000, 4, 8, 5)
    assert file["file"]["extra"] < 300 * 2 ** 20 and file["ratio"] >= 0.8
    assert (cluster["rows"], cluster["features"]) == (20_000_000, 8) and cluster["ratio"] >= 1.5
    assert len(results["kills"]["runs"]) == 5


@pytest.mark.slow
def test_quick_run_of_the_benchmark(tmp_path):
    pytest.importorskip("distributed")
    command = [sys.executable, ROOT / ".ci" / "bench_scale.py", "--quick", "--out", tmp_path / "results.json", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert check_results((tmp_path / "results.json").read_text(encoding="utf-8"))["sizes"] == "tiny"
    assert not (tmp_path / "rows.npy").exists()


@pytest.mark.slow
def test_the_reservoir_is_uniform():
    counts = np.zeros(3000)
    for seed in range(4000):
        reservoir = Reservoir(100, np.random.default_rng(seed))
        for piece in np.array_split(np.arange(3000.0)[:, None], 30): reservoir.add(piece)
        counts[reservoir.sample()[:, 0].astype(int)] += 1
    p = 100 / 3000
    z = (counts - 4000 * p) / np.sqrt(4000 * p * (1 - p))
    assert abs(z.var() - 1) < 0.12 and np.abs(z).max() < 5
    assert abs(np.polyfit(np.arange(3000), z, 1)[0] * 3000) < 0.35


@pytest.mark.slow
def test_memory_does_not_grow_with_rows():
    import tracemalloc
    peaks = []
    for pieces in (20, 100):
        tracemalloc.start()
        fit(lambda: (np.random.default_rng(s).normal(size=(50_000, 3)) for s in range(pieces)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
