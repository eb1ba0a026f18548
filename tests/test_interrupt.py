"""A callback sees every iteration and may end the fit; Ctrl-C ends it too, and keeps the last whole iteration."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import gmm_lit.mixture
from gmm_lit import ConvergenceWarning, GaussianMixture, GaussianMixtureSearch
from gmm_lit.datasets import load_faithful
from gmm_lit.mixture import FitState

X = load_faithful().data
RUNNERS = [None, "squarem"]


def quiet(model, X=X, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


@pytest.mark.parametrize("accelerate", RUNNERS)
def test_callback_sees_every_iteration(accelerate):
    states = []
    gm = quiet(GaussianMixture(3, n_init=3, max_iter=30, tol=1e-5, random_state=0, accelerate=accelerate, callback=states.append))
    assert all(isinstance(state, FitState) for state in states) and sorted({state.start for state in states}) == [0, 1, 2]
    plain = quiet(GaussianMixture(3, n_init=3, max_iter=30, tol=1e-5, random_state=0, accelerate=accelerate))
    assert np.array_equal(plain.means_, gm.means_) and plain.lower_bounds_ == gm.lower_bounds_   # watching changes nothing
    runs = [[state for state in states if state.start == number] for number in range(3)]
    best = max(runs, key=lambda run: run[-1].log_likelihood)
    assert [state.iteration for state in best] == list(range(1, gm.n_iter_ + 1))
    assert [state.log_likelihood for state in best] == gm.lower_bounds_
    np.testing.assert_allclose([state.change for state in best[1:]], np.diff(gm.lower_bounds_), atol=1e-15)
    assert np.array_equal(best[-1].params.means, gm.means_) and best[-1].params.covariances is gm.covariances_


@pytest.mark.parametrize("accelerate", RUNNERS)
@pytest.mark.parametrize("last", [1, 4])
def test_true_ends_the_fit(accelerate, last):
    with warnings.catch_warnings():
        warnings.simplefilter("error")                        # it was asked for: no warning
        gm = GaussianMixture(3, n_init=5, tol=0, random_state=0, accelerate=accelerate,
                             callback=lambda state: state.iteration >= last).fit(X)
    same = quiet(GaussianMixture(3, tol=0, max_iter=last, random_state=0, accelerate=accelerate))
    assert gm.n_iter_ == last and not gm.converged_ and not gm.interrupted_
    assert np.array_equal(gm.means_, same.means_)


def test_ending_keeps_the_best_start_so_far():
    alone = [quiet(GaussianMixture(4, n_init=n, max_iter=50, random_state=3, init_params="random_from_data")) for n in range(1, 6)]
    stop = lambda state: (state.start, state.iteration) == (4, 1)
    gm = GaussianMixture(4, n_init=9, max_iter=50, random_state=3, init_params="random_from_data", callback=stop).fit(X)
    assert gm.lower_bound_ == max(alone[3].lower_bound_, gm.lower_bound_) == alone[3].lower_bound_


@pytest.mark.parametrize("answer", [None, 0, 1, "yes", False, np.bool_(False), [1], X])
def test_only_true_ends_it(answer):
    gm = quiet(GaussianMixture(2, max_iter=5, tol=0, random_state=0, callback=lambda state: answer))
    assert gm.n_iter_ == 5
    assert quiet(GaussianMixture(2, tol=0, callback=lambda state: np.bool_(True))).n_iter_ == 1


@pytest.mark.parametrize("error", [ValueError("mine"), RuntimeError("mine"), KeyError("mine")])
def test_errors_of_a_callback_are_its_own(error):
    gm = GaussianMixture(2, random_state=0).fit(X)
    before = dict(vars(gm))
    def fail(state): raise error
    with pytest.raises(type(error), match="mine"):
        gm.set_params(callback=fail, n_init=3).fit(X)
    assert gm.means_ is before["means_"]                      # and the last good fit is kept


def test_what_may_be_a_callback():
    with pytest.raises(TypeError, match="callback must be"):
        GaussianMixture(callback="print").fit(X)
    called = []
    quiet(GaussianMixture(2, max_iter=0, callback=called.append))
    assert not called


def interrupt_at(start, iteration):
    def press(state):
        if (state.start, state.iteration) == (start, iteration): raise KeyboardInterrupt
    return press


@pytest.mark.parametrize("accelerate", RUNNERS)
@pytest.mark.parametrize("iteration", [1, 2, 7])
def test_interrupt_keeps_whole_iterations(accelerate, iteration):
    options = dict(n_components=3, tol=0, random_state=0, accelerate=accelerate)
    gm = GaussianMixture(**options, max_iter=50, callback=interrupt_at(0, iteration))
    with pytest.warns(ConvergenceWarning, match=f"Interrupted in start 1 of 1.*{iteration} whole iter"):
        gm.fit(X)
    whole = quiet(GaussianMixture(**options, max_iter=iteration))
    assert gm.interrupted_ and not gm.converged_ and gm.n_iter_ == iteration
    assert np.array_equal(gm.covariances_, whole.covariances_) and gm.lower_bounds_ == whole.lower_bounds_
    assert np.isfinite(gm.score(X)) and pickle.loads(pickle.dumps(gm.set_params(callback=None))).predict(X).shape == (272,)


def test_going_on_after_an_interrupt():
    options = dict(n_components=3, tol=0, random_state=0, warm_start=True)
    gm = quiet(GaussianMixture(**options, max_iter=50, callback=interrupt_at(0, 7)))
    quiet(gm.set_params(callback=None, max_iter=13))
    whole = quiet(GaussianMixture(**options, max_iter=20))
    assert np.array_equal(gm.means_, whole.means_) and not gm.interrupted_


def test_interrupt_in_a_later_start_keeps_the_best():
    options = dict(n_components=4, max_iter=60, random_state=3, init_params="random_from_data")
    gm = quiet(GaussianMixture(**options, n_init=9, callback=interrupt_at(3, 1)))
    best = quiet(GaussianMixture(**options, n_init=3))
    assert gm.lower_bound_ == best.lower_bound_ and gm.converged_ == best.converged_ and gm.interrupted_


def test_nothing_to_keep(monkeypatch):
    """Before the first iteration is over there is nothing to keep: the interrupt goes on, the old fit stays."""
    gm = GaussianMixture(2, random_state=0).fit(X)
    means = gm.means_
    def press(*_, **__): raise KeyboardInterrupt
    for name in ("em_step", "make_start", "check_start"):
        with monkeypatch.context() as patch:
            patch.setattr(gmm_lit.mixture, name, press)
            with pytest.raises(KeyboardInterrupt):
                gm.fit(X)
        assert gm.means_ is means and gm.converged_
    from threadpoolctl import ThreadpoolController
    before = ThreadpoolController().info()
    quiet(GaussianMixture(3, tol=0, callback=interrupt_at(0, 3)))
    assert ThreadpoolController().info() == before            # BLAS has its threads back


def test_interrupt_in_an_initialisation_after_a_good_start(monkeypatch):
    real, calls = gmm_lit.mixture.make_start, []
    def second_is_interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2: raise KeyboardInterrupt
        return real(*args, **options)
    monkeypatch.setattr(gmm_lit.mixture, "make_start", second_is_interrupted)
    with pytest.warns(ConvergenceWarning, match="Interrupted in start 2 of 5"):
        gm = GaussianMixture(2, n_init=5, random_state=0).fit(X)
    assert gm.interrupted_ and gm.converged_


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("accelerate", RUNNERS)
@pytest.mark.thorough
def test_real_signals_at_any_moment(accelerate):
    big = np.random.default_rng(0).normal(size=(20_000, 3)) + np.arange(3) * 0.1
    rng, kept = np.random.default_rng(1), 0
    for _ in range(12):
        gm = GaussianMixture(4, tol=0, max_iter=10_000, random_state=0, accelerate=accelerate, init_params="random_from_data")
        timer = threading.Timer(rng.uniform(0.001, 0.08), os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                gm.fit(big)
        except KeyboardInterrupt:
            assert not hasattr(gm, "weights_")
        else:
            assert gm.interrupted_ and gm.n_iter_ == len(gm.lower_bounds_) >= 1
            assert np.isfinite(gm.score(big)) and gm.score(big) >= gm.lower_bound_ - 1e-9
            kept += 1
        timer.join()
    assert kept


def test_a_search_ends_at_an_interrupt(monkeypatch):
    """It means the whole search, not only the model that is being fitted."""
    real, calls = gmm_lit.mixture.em_step, []
    def step(*args, **options):
        calls.append(1)
        if len(calls) == 40: raise KeyboardInterrupt
        return real(*args, **options)
    monkeypatch.setattr(gmm_lit.mixture, "em_step", step)
    with pytest.warns(UserWarning, match="Interrupted"):
        search = GaussianMixtureSearch([1, 2, 3, 4], covariance_types=["full", "tied", "diag"], random_state=0, n_jobs=1).fit(X)
    assert search.interrupted_ and 0 < len(search.results_) < 12 and len(calls) == 40


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_program_at_its_prompt():
    """A process of its own, killed with SIGINT while it fits, tells of a usable model and ends well."""
    program = ("import numpy as np, gmm_lit\n"
               "X = np.random.default_rng(0).normal(size=(200_000, 4))\n"
               "gm = gmm_lit.GaussianMixture(8, tol=0, max_iter=10**6, random_state=0, init_params='random_from_data',\n"
               "    callback=lambda s: print('iteration', s.iteration, flush=True))\n"
               "gm.fit(X); print('kept', gm.n_iter_, gm.interrupted_, np.isfinite(gm.score(X)))")
    for wait in (0.0, 0.05, 0.3):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline().startswith("iteration 1")
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and out.splitlines()[-1].startswith("kept") and out.splitlines()[-1].endswith("True True")
        assert "Interrupted in start 1 of 1" in err
