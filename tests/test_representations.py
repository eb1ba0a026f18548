"""Objects that show themselves: the same in HTML and text, safe, readable on light and dark, and true."""

import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest

from gmm_lit import ConvergenceWarning, GaussianMixture, GaussianMixtureSearch
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.representations import (THEMES, Bar, Card, Cell, card_html, card_text, cautions, contrast, hex_colors, mixture_card,
                                     parameter_rows, plus_minus, spark_svg, spark_text, theme_css)

X = load_faithful().data
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """Checks that tags are closed and harmless, and gathers the text outside of style and title."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []
        self.feed(html)
        assert self.open == []
        assert not set(self.seen) & {"script", "img", "iframe", "object", "embed", "link", "a", "form", "input", "base", "meta"}
        for name, value in self.attributes:
            assert not name.startswith("on") and name not in ("href", "src", "srcdoc", "action"), name
            assert name != "style" or re.fullmatch(r"(width:\d+px;)?background:#[0-9a-f]{6}", value)

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.open.append(tag)
        self.attributes += attributes

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag): assert self.open.pop() == tag

    def handle_data(self, data):
        if not set(self.open) & {"style", "title"}: self.words.append(data)


def quiet_fit(gm, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gm.fit(X)


FITTED = [GaussianMixture(2, random_state=0).fit(X), GaussianMixture(3, covariance_type="tied", random_state=0).fit(load_iris().data),
          GaussianMixture(1).fit(X[:, :1]), quiet_fit(GaussianMixture(3, max_iter=1, random_state=0), X),
          quiet_fit(GaussianMixture(2, max_iter=0, random_state=0), X), GaussianMixture(2, prior="default", random_state=0).fit(X)]
SHOWN = [*FITTED, GaussianMixture(3), GaussianMixture(2, init_params=np.zeros(500, int)), GaussianMixtureSearch(),
         GaussianMixtureSearch([1, 2], covariance_types="tied", random_state=0).fit(X)]


@pytest.mark.parametrize("thing", SHOWN, ids=lambda thing: repr(thing)[:60])
def test_every_object_shows_itself_safely(thing):
    assert len(Page(thing._repr_html_()).words) > 0
    printed = []

    class Printer:
        text = printed.append

    thing._repr_pretty_(Printer, False)
    assert printed and max(map(len, printed[0].splitlines())) <= 120


@pytest.mark.parametrize("gm", FITTED, ids=repr)
def test_html_and_text_tell_the_same(gm):
    words, text = " ".join(Page(gm._repr_html_()).words), gm.table()
    numbers = lambda said: set(re.findall(r"-?\d+\.\d{3,}", said))
    means = {entry.split(" ")[0] for row in parameter_rows(gm.weights_, gm.means_, gm.full_covariances())[1] for entry in row[2:]}
    assert all(mean in words and mean in text for mean in means) and numbers(text)
    for k, weight in enumerate(gm.weights_):
        assert f"{weight:.3f}" in words and f"{weight:.2f}" in text
    assert repr(gm).startswith("GaussianMixture(") and repr(gm) == str(gm)


def test_what_went_wrong_is_said_in_words():
    rushed = quiet_fit(GaussianMixture(3, max_iter=2, tol=1e-9, random_state=0), X)
    for said in (rushed._repr_html_(), rushed.table()): assert "Warning: Not converged within 2 iterations" in said
    spike = quiet_fit(GaussianMixture(3, max_iter=50, reg_covar=1e-6, random_state=0, means_init=[[2, 55], [4.3, 80], X[100]],
                                      weights_init=[0.35, 0.6, 0.05], precisions_init=[np.eye(2), np.eye(2), 1e7 * np.eye(2)]), X)
    if spike.collapsed_components(): assert "has collapsed" in spike.table() and "nearly flat" not in spike.table()
    assert "Warning" not in FITTED[0].table() and "Not fitted" in GaussianMixture()._repr_html_()
    assert "log-posterior" in FITTED[-1].table() and "BIC" not in FITTED[-1].table()


def test_cautions():
    w, m, C = np.array([0.5, 0.5]), np.array([[0.0, 0], [5, 5]]), np.array([np.eye(2)] * 2)
    assert cautions(w, m, C) == cautions(w, m * 1e6, C * 1e12) == []
    assert len(cautions(w, m, np.array([np.eye(2), np.diag([1, 1e-8])]))) == 1
    assert cautions(w, m, np.array([np.eye(2), np.diag([1, 1e-8])]), known=[1]) == []
    assert "the same" in cautions(w, m[[0, 0]], C)[0]
    assert "lost its rows" in cautions(np.array([1.0, 0.0]), m, C)[0]
    assert cautions(np.ones(1), np.zeros((1, 2)), np.zeros((1, 2, 2)))          # no spread at all, and no division by it


def test_what_comes_from_outside_is_text():
    card = Card(EVIL, [EVIL], [EVIL], [EVIL, EVIL, EVIL], [[EVIL, Cell(EVIL, "faint", EVIL), Bar(0.5)]], EVIL, [1, 2], [(EVIL, EVIL)])
    assert Page(card_html(card)).words.count(EVIL) >= 6
    gm = GaussianMixture(2, random_state=0).fit(X)
    gm.feature_names_in_ = np.array([EVIL, "waiting (min)"], dtype=object)
    assert EVIL in Page(gm._repr_html_()).words and "waiting (min)" in gm.table()


def test_large_mixtures_are_cut_and_say_so():
    rng = np.random.default_rng(0)
    w, m, C = np.full(50, 0.02), rng.standard_normal((50, 30)), np.array([np.eye(30)] * 50)
    card = mixture_card("big", w, m, C)
    assert len(card.rows) == 20 and len(card.header) == 8 and "20 of 50 components, 6 of 30 features" in card.caption
    assert len(card_html(card)) < 20_000 and all(name != "Covariances" for name, _ in card.details)


@pytest.mark.parametrize("mean, deviation, text", [(79.968, 6.0043, "79.97 ± 6.00"), (0.0, 0.0, "0 ± 0"), (1e8, 1e-3, "100000000.00000 ± 0.00100"),
                                                   (-0.5, 1e-9, "-0.5 ± 1e-09"), (5e8, 2e7, "5e+08 ± 2e+07"), (3.0, np.nan, "3 ± 0")])
def test_plus_minus(mean, deviation, text): assert plus_minus(mean, deviation) == text


def test_sparklines():
    assert spark_text([3, 3]) == "▁▁" and spark_text([np.nan]) == "" and len(spark_text(np.arange(1000), 10)) == 10
    assert spark_svg([1]) == "" and "from 0 to 9" in spark_svg(range(10)) and len(spark_svg(np.arange(100_000.0))) < 6000
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", spark_svg([0, 1, 5]))]
    assert heights == sorted(heights, reverse=True) and len(heights) == 3
    assert "nan" not in spark_svg([-np.inf, 1, 1]) and card_text(Card("x", trace=[1])) == "x"


# --- colours: WCAG 2.2, level AA


@pytest.mark.parametrize("theme", THEMES)
def test_contrast_is_what_the_guidelines_ask(theme):
    colors = THEMES[theme]
    for ink, paper in (("ink", "paper"), ("faint", "paper"), ("alarm", "alarmpaper"), ("ink", "alarmpaper")):
        assert contrast(colors[ink], colors[paper]) >= 4.5, (ink, paper)
    assert contrast(colors["line"], colors["paper"]) >= 3                       # frames of bars, whatever is in them
    assert contrast(colors["line"], colors["alarmpaper"]) >= 2.5


def test_contrast_of_known_pairs():
    assert contrast("#000000", "#ffffff") == contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01) and contrast("#123456", "#123456") == 1


def test_all_colours_of_a_card_come_from_the_themes():
    html = FITTED[0]._repr_html_()
    known = {color for colors in THEMES.values() for color in colors.values()} | set(hex_colors(2))
    assert set(re.findall(r"#[0-9a-f]{6}\b", html)) <= known
    css = theme_css(".x")
    assert css.count(THEMES["dark"]["ink"]) == 2 and css.count(THEMES["light"]["ink"]) == 2
    assert "prefers-color-scheme:dark" in css and 'data-jp-theme-light="false"' in css


def test_a_search_names_its_winner_and_escapes_the_rest():
    search = GaussianMixtureSearch([1, 2], covariance_types=["tied", "diag"], random_state=0).fit(X)
    words = " ".join(Page(search._repr_html_()).words)
    assert "Best: tied, 2 components" in words and search._repr_html_().count('class="best"') == 1

