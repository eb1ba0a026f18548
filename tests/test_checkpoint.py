"""A fit that is killed or interrupted at any moment goes on from its checkpoint, to the same result to the last bit."""

import copy
import os
import random
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

import gmm_lit.checkpoint
import gmm_lit.scale
from gmm_lit import ConvergenceWarning, FileFormatError, GaussianMixture, load
from gmm_lit.checkpoint import Checkpoint, fingerprint
from gmm_lit.covariances import STRUCTURES
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.persistence import encode_file, opened, read_file

X, IRIS = load_faithful().data, load_iris().data
FIT = dict(n_components=3, n_init=3, tol=1e-4, max_iter=14, random_state=5, init_params="random_from_data")
WEIGHT = np.random.default_rng(8).integers(0, 4, len(X))
RESULT = ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_", "lower_bounds_", "n_iter_", "converged_", "lower_bound_")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def quiet(model, X=X, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


def assert_same(a, b):
    for name in RESULT:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


class Stop:
    """A callback that interrupts a fit, in one of several ways, when it is called for the n-th time."""

    def __init__(self, moment, how): self.moment, self.how = moment, how

    def __call__(self, state):
        self.moment -= 1
        if self.moment == 0:
            if self.how == "true": return True
            raise {"ctrl-c": KeyboardInterrupt, "crash": RuntimeError}[self.how]


def resumed(path, moments, how, X=X, **options):
    """The fit that goes on after an interrupt at each of the moments."""
    for moment in moments:
        try: quiet(GaussianMixture(**options, callback=Stop(moment, how)), X, checkpoint=path)
        except (KeyboardInterrupt, RuntimeError): pass
    return quiet(GaussianMixture(**options), X, checkpoint=path)


@pytest.mark.parametrize("accelerate", [None, "squarem"])
@pytest.mark.parametrize("how, every", [("ctrl-c", 5), ("true", 11), ("crash", 11), *(pytest.param(how, 1, marks=pytest.mark.slow) for how in ("ctrl-c", "true", "crash"))])
@pytest.mark.thorough
def test_every_moment(tmp_path, accelerate, how, every, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)             # written as often as there is something to write
    options, seen = FIT | dict(accelerate=accelerate), []
    whole = quiet(GaussianMixture(**options, callback=seen.append))
    assert len(seen) > 20
    for moment in range(1, len(seen) + 1, every):
        assert_same(resumed(tmp_path / f"{moment}", [moment], how, **options), whole)
    assert_same(resumed(tmp_path / "often", [7] * 6, how, **options), whole)


@pytest.mark.parametrize("how", ["ctrl-c", "crash"])
def test_rare_writes_are_enough(tmp_path, how):
    whole = quiet(GaussianMixture(**FIT))                     # every 10 s: nothing but the first state is ever written
    assert_same(resumed(tmp_path / "c", [5, 9, 17], how, **FIT), whole)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_every_structure(tmp_path, covariance_type, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    for more in (dict(accelerate="squarem"), dict(prior="default")):
        options = dict(n_components=3, n_init=2, max_iter=12, tol=1e-7, random_state=1, covariance_type=covariance_type, init_params="random") | more
        assert_same(resumed(tmp_path / next(iter(more)), [9, 8], "crash", IRIS, **options), quiet(GaussianMixture(**options), IRIS))


@pytest.mark.parametrize("options", [
    dict(random_state=np.random.default_rng(3)), dict(init_params="short_runs"), dict(init_params="kmeans", n_init=4), dict(max_iter=0), dict(max_iter=1),
    dict(init_params="hierarchical", n_init=2), dict(init_params=np.arange(272) % 3), dict(init_params=["a", "b", "c", "a"] * 68), dict(n_components=1),
    dict(means_init=X[:3].tolist()), dict(update="mw"), dict(update="w", means_init=X[:3], precisions_init=[np.eye(2) / 7] * 3, accelerate="squarem"), dict(weights_init=[0.2, 0.3, 0.5], precisions_init=[np.eye(2).tolist()] * 3, means_init=X[:3]), dict(tol=0.0)],
    ids=lambda options: "-".join(options))
@pytest.mark.thorough
def test_options(tmp_path, options, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    whole = quiet(GaussianMixture(**copy.deepcopy(FIT | options)))
    for moment in (4, 16):
        path, mine = tmp_path / str(moment), copy.deepcopy(FIT | options)
        try: quiet(GaussianMixture(**copy.deepcopy(FIT | options), callback=Stop(moment, "crash")), checkpoint=path)
        except RuntimeError: pass
        again = quiet(GaussianMixture(**mine, n_jobs=1, verbose=0), checkpoint=path)
        assert_same(again, whole)
        if "random_state" in options:                         # and the user's own generator is where it would have been
            straight = copy.deepcopy(options["random_state"])
            quiet(GaussianMixture(**FIT | dict(random_state=straight)))
            assert mine["random_state"].integers(10 ** 9) == straight.integers(10 ** 9)


def test_random_state_none_goes_on_with_what_was_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    path, options = tmp_path / "c", FIT | dict(random_state=None)
    try: quiet(GaussianMixture(**options, callback=Stop(20, "crash")), checkpoint=path)
    except RuntimeError: pass
    (tmp_path / "d").write_bytes(path.read_bytes())
    a, b = (quiet(GaussianMixture(**options), checkpoint=tmp_path / name) for name in "cd")
    assert_same(a, b)


@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_sample_weight(tmp_path, accelerate, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    options, path = FIT | dict(accelerate=accelerate), tmp_path / "c"
    whole = quiet(GaussianMixture(**options), sample_weight=WEIGHT)
    with pytest.raises(RuntimeError):
        quiet(GaussianMixture(**options, callback=Stop(19, "crash")), sample_weight=WEIGHT, checkpoint=path)
    for other in (None, np.maximum(WEIGHT, 1), WEIGHT * WEIGHT):
        with pytest.raises(ValueError, match="what differs is: (X|sample_weight)"):
            quiet(GaussianMixture(**options), sample_weight=other, checkpoint=path)
    assert_same(quiet(GaussianMixture(**options), sample_weight=WEIGHT, checkpoint=path), whole)


@pytest.mark.thorough
def test_float32_rows_and_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    pandas = pytest.importorskip("pandas")
    for name, rows in (("a", X.astype(np.float32)), ("b", pandas.DataFrame(X, columns=["a", "b"])), ("c", (10 * X).astype(np.int16))):
        assert_same(resumed(tmp_path / name, [9, 8], "crash", rows, **FIT), quiet(GaussianMixture(**FIT), rows))


@pytest.mark.parametrize("accelerate", [None, "squarem"])
@pytest.mark.thorough
def test_rows_in_a_file(tmp_path, accelerate, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    rows, options = np.random.default_rng(0).normal(size=(30_000, 3)), FIT | dict(accelerate=accelerate)
    np.save(tmp_path / "rows.npy", rows)
    whole = quiet(GaussianMixture(**options), tmp_path / "rows.npy")
    assert_same(resumed(tmp_path / "c", [9, 8, 7], "crash", tmp_path / "rows.npy", **options), whole)
    np.save(tmp_path / "rows.npy", rows + 1e-9)
    with pytest.raises(ValueError, match="what differs is: X"):
        quiet(GaussianMixture(**options), tmp_path / "rows.npy", checkpoint=tmp_path / "c")
    assert fingerprint(gmm_lit.scale.open_source(rows)) == fingerprint(rows)


@pytest.mark.thorough
def test_a_failed_start_is_passed_over_after_a_break_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    grid = np.repeat([[0.0, 0], [1, 0], [5, 5], [6, 7]], 10, axis=0) + np.random.default_rng(0).normal(size=(40, 2)) * np.repeat([0, 1, 1, 1], 10)[:, None]
    for seed in range(2):
        options, seen = dict(n_components=3, n_init=6, reg_covar=0, random_state=seed, init_params="random_from_data", max_iter=60), []
        try: whole = quiet(GaussianMixture(**options, callback=seen.append), grid)
        except ValueError: continue
        for moment in range(1, len(seen) + 1, 9):
            assert_same(resumed(tmp_path / f"{seed} {moment}", [moment], "crash", grid, **options), whole)


def test_iterations_and_log_likelihoods_are_counted_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    straight, pieces = [], []
    note = lambda seen: lambda state: seen.append((state.start, state.iteration, state.log_likelihood))
    quiet(GaussianMixture(**FIT, callback=note(straight)))
    stop = Stop(18, "crash")
    with pytest.raises(RuntimeError):
        quiet(GaussianMixture(**FIT, callback=lambda state: (note(pieces)(state), stop(state))[1]), checkpoint=tmp_path / "c")
    quiet(GaussianMixture(**FIT, callback=note(pieces)), checkpoint=tmp_path / "c")
    assert list(dict.fromkeys(pieces)) == straight            # an iteration may be seen twice


def test_a_finished_fit_is_not_done_again(tmp_path):
    path, calls = tmp_path / "c", []
    whole = quiet(GaussianMixture(**FIT), checkpoint=path)
    again = quiet(GaussianMixture(**FIT, callback=calls.append, n_jobs=2, verbose=0), checkpoint=path)
    assert_same(whole, again)
    assert not calls and again.interrupted_ is False
    with pytest.warns(ConvergenceWarning):                    # and says again what it said
        GaussianMixture(**FIT | dict(max_iter=3)).fit(X, checkpoint=tmp_path / "d")
    with pytest.warns(ConvergenceWarning):
        GaussianMixture(**FIT | dict(max_iter=3)).fit(X, checkpoint=tmp_path / "d")


def test_ctrl_c_writes_before_it_ends(tmp_path):
    """The interval is ten seconds, and yet nothing is lost."""
    path = tmp_path / "c"
    with pytest.warns(ConvergenceWarning, match="To go on from there, fit again with this checkpoint"):
        gm = GaussianMixture(**FIT, callback=Stop(20, "ctrl-c")).fit(X, checkpoint=path)
    assert gm.interrupted_ and np.isfinite(gm.score(X))
    later = []
    assert_same(quiet(GaussianMixture(**FIT, callback=later.append), checkpoint=path), quiet(GaussianMixture(**FIT)))
    seen = []
    quiet(GaussianMixture(**FIT, callback=seen.append))
    assert len(later) <= len(seen) - 18


@pytest.mark.parametrize("change, name", [
    (dict(n_components=4), r"n_components \(3 there, 4 here\)"), (dict(tol=1e-3), "tol"), (dict(max_iter=15), "max_iter"), (dict(n_init=4), "n_init"),
    (dict(random_state=6), "random_state"), (dict(random_state=None), "random_state"), (dict(random_state=np.random.default_rng(5)), "random_state"),
    (dict(covariance_type="diag"), "covariance_type"), (dict(reg_covar=1e-5), "reg_covar"), (dict(init_params="kmeans"), "init_params"),
    (dict(init_params=np.arange(272) % 3), "init_params"), (dict(accelerate="squarem"), "accelerate"), (dict(prior="default"), "prior"),
    (dict(weights_init=[0.2, 0.3, 0.5]), "weights_init"), (dict(means_init=X[:3]), "means_init"), (dict(precisions_init=[np.eye(2)] * 3), "precisions_init")])
def test_other_options_are_refused_by_name(tmp_path, change, name):
    path = tmp_path / "c"
    quiet(GaussianMixture(**FIT), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"another fit; what differs is: {name}") as caught:
        quiet(GaussianMixture(**FIT | change), checkpoint=path)
    assert str(path) in str(caught.value) and path.read_bytes() == before


def test_other_rows_are_refused(tmp_path):
    path = tmp_path / "c"
    quiet(GaussianMixture(**FIT), checkpoint=path)
    changed = X.copy()
    changed[137, 1] = np.nextafter(changed[137, 1], 100)      # one bit
    for other in (changed, X[:-1], X[::-1], X.astype(np.float32), X[:, ::-1]):
        with pytest.raises(ValueError, match="what differs is: X"):
            quiet(GaussianMixture(**FIT), other, checkpoint=path)
    quiet(GaussianMixture(**FIT), np.asfortranarray(X), checkpoint=path)             # the order in memory is no part of the data
    quiet(GaussianMixture(**FIT), X.tolist(), checkpoint=path)


def test_refusals(tmp_path):
    path = tmp_path / "c"
    with pytest.raises(ValueError, match="warm_start"):
        GaussianMixture(**FIT, warm_start=True).fit(X, checkpoint=path)
    for options in (dict(init_params=lambda X, n_components, random_state: np.arange(272) % 3), dict(random_state=np.random.Generator(np.random.Philox(0)))):
        with pytest.raises(TypeError, match="cannot be saved"):
            GaussianMixture(**FIT | options).fit(X, checkpoint=path)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        GaussianMixture(**FIT).fit(X, checkpoint=tmp_path / "nowhere" / "c")
    with pytest.raises(TypeError):
        GaussianMixture(**FIT).fit(X, checkpoint=3.5)
    quiet(GaussianMixture(**FIT)).save(path)
    with pytest.raises(FileFormatError, match="'checkpoint' is wanted"):
        GaussianMixture(**FIT).fit(X, checkpoint=path)
    assert load(path).n_components == 3                       # and the model is still there
    legacy = FIT | dict(random_state=np.random.RandomState(0))
    quiet(GaussianMixture(**legacy), checkpoint=tmp_path / "legacy")
    assert_same(quiet(GaussianMixture(**FIT | dict(random_state=np.random.RandomState(0))), checkpoint=tmp_path / "legacy"),
                quiet(GaussianMixture(**FIT | dict(random_state=np.random.RandomState(0)))))


def test_a_disk_that_fills_up_does_not_end_the_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "interval", 0)
    monkeypatch.setattr(Checkpoint, "share", 1e9)
    real, calls = gmm_lit.checkpoint.write_atomically, []

    def full(*args):
        calls.append(args)
        if len(calls) > 5: raise OSError("No space left on device")
        real(*args)

    monkeypatch.setattr(gmm_lit.checkpoint, "write_atomically", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        gm = quiet(GaussianMixture(**FIT), checkpoint=tmp_path / "c")
    assert_same(gm, quiet(GaussianMixture(**FIT)))
    monkeypatch.setattr(gmm_lit.checkpoint, "write_atomically", real)
    assert_same(quiet(GaussianMixture(**FIT), checkpoint=tmp_path / "c"), gm)


@pytest.mark.parametrize("a_write, interval, writes", [(0.02, 0, 11), (0.02, 0.5, 4), (0.2, 0, 2), (0.0, 0.1, 11)])
def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch, a_write, interval, writes):
    """A clock that stands still but for iterations, 10 ms each, and writes."""
    real, clock, spent = gmm_lit.checkpoint.write_atomically, [0.0], []

    def slow(*args):
        clock[0] += a_write
        spent.append(a_write)
        real(*args)

    def iteration(state): clock[0] += 0.01

    monkeypatch.setattr(gmm_lit.checkpoint, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(gmm_lit.checkpoint, "write_atomically", slow)
    monkeypatch.setattr(Checkpoint, "interval", interval)
    monkeypatch.setattr(Checkpoint, "share", 0.2)
    quiet(GaussianMixture(3, tol=0, max_iter=110, random_state=0, callback=iteration), checkpoint=tmp_path / "c")
    assert abs(len(spent) - writes) <= 1 and sum(spent[1:-1]) <= 0.2 * clock[0]


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_checkpoints_are_refused(tmp_path, count):
    path, rng = tmp_path / "c", random.Random(0)
    quiet(GaussianMixture(**FIT | dict(accelerate="squarem"), callback=Stop(20, "true")), checkpoint=path)
    good = path.read_bytes()
    for _ in range(count):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad[:rng.randrange(len(bad))] if rng.random() < 0.3 else bad)
        with pytest.raises(FileFormatError):
            GaussianMixture(**FIT | dict(accelerate="squarem")).fit(X, checkpoint=path)


def test_forged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "c"
    options = FIT | dict(accelerate="squarem")
    quiet(GaussianMixture(**options, callback=Stop(20, "true")), checkpoint=path)
    with opened(path) as file:
        facts, arrays = read_file(file, "checkpoint")
    more = [dict(number=-1), dict(number=4), dict(number="1"), dict(best=3), dict(best={}), dict(current={"converged": 1}), dict(notes=["points"]),
            dict(notes=None), dict(generator=None), dict(generator={"array": "x"}), dict(notes=[*facts["notes"], "more"])]
    for change in more:
        path.write_bytes(encode_file("checkpoint", facts | change, arrays))
        with pytest.raises(FileFormatError):
            GaussianMixture(**options).fit(X, checkpoint=path)
    for name in arrays:
        if not arrays[name].ndim: continue
        for array in (arrays[name] * np.nan, arrays[name][..., None], np.zeros(3)):
            if name.endswith("_trace") and array.ndim == 1 and not array.any() or name.startswith("notes") and not np.isnan(array).any(): continue
            path.write_bytes(encode_file("checkpoint", facts, arrays | {name: array}))
            with pytest.raises(FileFormatError):
                GaussianMixture(**options).fit(X, checkpoint=path)
    path.write_bytes(encode_file("checkpoint", {name: value for name, value in facts.items() if name != "of"}, arrays))
    with pytest.raises(FileFormatError):
        GaussianMixture(**options).fit(X, checkpoint=path)
    path.write_bytes(encode_file("checkpoint", facts | {"of": 3}, arrays))
    with pytest.raises(ValueError, match="another fit"):
        GaussianMixture(**options).fit(X, checkpoint=path)


KILLED = """
import sys, warnings
import numpy as np
from gmm_lit import GaussianMixture
from gmm_lit.checkpoint import Checkpoint
warnings.simplefilter("ignore")
Checkpoint.interval, Checkpoint.share = 0.02, 1.0
X = np.random.default_rng(0).normal(size=(3000, 8))
print("ready", flush=True)
gm = GaussianMixture(6, n_init=4, max_iter=100, tol=1e-7, random_state=2, accelerate=sys.argv[1] or None, init_params="random_from_data", n_jobs=1)
gm.fit(X, checkpoint="c").save("done.npz")
"""


@pytest.mark.parametrize("accelerate, kills", [("", 3), pytest.param("", 25, marks=pytest.mark.slow), pytest.param("squarem", 25, marks=pytest.mark.slow)])
@pytest.mark.thorough
def test_kill_at_random_moments_of_a_fit(tmp_path, accelerate, kills, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = quiet(GaussianMixture(6, n_init=4, max_iter=100, tol=1e-7, random_state=2, accelerate=accelerate or None, init_params="random_from_data"),
                  np.random.default_rng(0).normal(size=(3000, 8)))
    rng, killed, rounds = random.Random(3), 0, 0
    while killed < kills:
        with subprocess.Popen([sys.executable, "-c", KILLED, accelerate], stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"ready\n"
            try: child.wait(rng.uniform(0, 0.6))
            except subprocess.TimeoutExpired:
                child.kill()
                killed += 1
        if os.path.exists("done.npz"):                        # it came to its end: compare, and begin anew
            assert_same(load("done.npz"), whole)
            os.unlink("done.npz"), os.unlink("c")
            rounds += 1
    done = subprocess.run([sys.executable, "-c", KILLED, accelerate], stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert_same(load("done.npz"), whole)
    print(f"{killed} kills in {rounds + 1} fits: each the same to the last bit as without interruption")


def test_fingerprint():
    a = np.random.default_rng(0).normal(size=(9000, 3))
    b = a.copy()
    b[8999, 2] += 1e-16 * abs(b[8999, 2]) + 5e-324
    b[8999, 2] = np.nextafter(a[8999, 2], 9)
    assert fingerprint(a) == fingerprint(np.asfortranarray(a)) == fingerprint(a[::-1][::-1]) != fingerprint(b)
    assert len({fingerprint(array) for array in (a, a.T, a.ravel(), a[None], a[:1], a.astype("f4"), np.zeros(2), np.zeros(2, int), np.float64(0))}) == 9
