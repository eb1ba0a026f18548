"""What a fit tells while it runs: nothing, lines, or a progress bar, depending on who looks."""

import io
import re
import sys
import threading

import numpy as np
import pytest

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.datasets import load_faithful

X = load_faithful().data


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_silent_by_default(capfd):
    GaussianMixture(3, random_state=0).fit(X)
    assert capfd.readouterr() == ("", "")


def test_lines_where_nobody_looks(capsys):
    GaussianMixture(3, verbose=1, verbose_interval=3, n_init=2, tol=1e-6, random_state=0).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization 0" and "Initialization 1" in lines
    assert "  Iteration 3" in lines and "  Iteration 6" in lines
    assert lines.count("Initialization converged.") == 2


def test_times_and_changes_with_verbose_2(capsys):
    GaussianMixture(3, verbose=2, verbose_interval=1, max_iter=3, tol=10, random_state=0).fit(X)
    printed = capsys.readouterr().out
    assert re.search(r"Iteration 1\t time lapse \d+\.\d+s\t ll change inf", printed)
    assert re.search(r"converged\. time lapse .*\t lower bound -\d+\.\d+", printed)


def test_a_bar_in_a_terminal(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    GaussianMixture(3, verbose=1, tol=1e-6, random_state=0).fit(X)
    assert "Initialization 0" in terminal.getvalue() and "it/s" in terminal.getvalue()
    assert "log_likelihood=-4." in terminal.getvalue() and "Iteration" not in terminal.getvalue()


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_failing_start_is_reported(verbose, capsys):
    with pytest.raises(ValueError, match="ill-defined"):
        GaussianMixture(2, verbose=verbose, reg_covar=0, random_state=0).fit(np.ones((10, 2)))
    assert "Initialization 0\nInitialization failed." in capsys.readouterr().out


# --- verbose=0: silent, but for a bar after the first second where somebody looks


@pytest.fixture
def watched(monkeypatch):
    """Call it for a terminal, and a clock that runs a second for each look at it."""
    def watch():
        terminal, clock = Terminal(), iter(range(10**9))
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("gmm_lit.mixture.time.perf_counter", lambda: next(clock))
        return terminal
    return watch


@pytest.mark.parametrize("n_init, unit", [(1, "it"), (4, "start")])
def test_a_long_fit_shows_a_bar_where_somebody_looks_and_takes_it_away(watched, n_init, unit):
    terminal = watched()
    GaussianMixture(3, n_init=n_init, tol=1e-6, random_state=0).fit(X)
    said = terminal.getvalue()
    assert unit in said and ("/4 [" in said) == (n_init == 4)
    assert not said.split("\r")[-1].strip()                        # the last thing written is a blank line


def test_a_short_fit_shows_nothing_even_there(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("gmm_lit.mixture.time.perf_counter", lambda: 0.0)
    GaussianMixture(3, n_init=3, random_state=0).fit(X)
    assert terminal.getvalue() == ""


def test_a_long_fit_is_silent_where_nobody_looks_and_in_other_threads(monkeypatch, capfd, watched):
    terminal = watched()
    thread = threading.Thread(target=lambda: GaussianMixture(3, n_init=2, random_state=0).fit(X))
    thread.start()
    thread.join()
    assert terminal.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    GaussianMixture(3, n_init=2, random_state=0).fit(X)
    assert sys.stderr.getvalue() == "" and capfd.readouterr().out == ""


def test_fits_in_a_search_have_no_bars_of_their_own(watched):
    terminal = watched()
    GaussianMixtureSearch([1, 2], covariance_types="tied", random_state=0, verbose=False, n_jobs=1).fit(X)
    assert terminal.getvalue() == ""


def test_a_failing_fit_takes_its_bar_away(watched):
    terminal = watched()
    def fail(state):
        if state.iteration == 5: raise RuntimeError("enough")
    with pytest.raises(RuntimeError): GaussianMixture(3, tol=0, max_iter=9, random_state=0, callback=fail).fit(X)
    assert "it" in terminal.getvalue() and not terminal.getvalue().split("\r")[-1].strip()
