"""What a fit tells while it runs: nothing, lines, or a progress bar, depending on who looks."""

import io
import re
import sys

import numpy as np
import pytest

from gmm_lit import GaussianMixture
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
