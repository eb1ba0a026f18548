"""Every page reads as it should, and .ci/pages.py, which says so, finds each kind of defect in a made-up book; and every
public name is documented by a few rules."""

import ast
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import gmm_lit

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parent.parent
CI = ROOT / ".ci"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def load_checker():
    sys.path.insert(0, str(CI))  # it imports its neighbour check.py
    try:
        spec = importlib.util.spec_from_file_location("pages", CI / "pages.py")
        module = sys.modules["pages"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(CI))


checker = load_checker()


def findings(*arguments):
    """In a process of its own: nbdev runs the exported cells, and they must not meet those of other tests."""
    command = [sys.executable, CI / "pages.py", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# -- the book ---------------------------------------------------------------------------------------------------------

PAGES = [path.relative_to(ROOT).as_posix() for path in checker.notebooks()]
PAGES += [name for name in checker.TEXTS if (ROOT / name).exists()]
KINDS = [kind for kind in checker.KINDS if kind not in ("words", "readme")]  # readme is a step of .ci/check.py


@pytest.fixture(scope="module")
def book():
    return findings()


@pytest.mark.slow
def test_every_page_is_read(book):
    assert book["pages"] == sorted(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("page", PAGES)
def test_page(book, page, kind):
    if kind == "citations" and not (ROOT / checker.REFERENCES).exists():
        pytest.skip(f"there is no {checker.REFERENCES}")
    here = [f for f in book["findings"] if (f["page"], f["kind"]) == (page, kind)]
    assert [f"[{f['cell']}] {f['text']!r} {f['why']}" for f in here] == []


def test_citations_wait_for_the_references(tmp_path):
    page = checker.Page("nbs/good.ipynb", links=[("references.ipynb#nobody-1999", "cell")])
    assert list(checker.check_citations(tmp_path, {page.name: page}, page)) == []
    (tmp_path / "nbs").mkdir()
    (tmp_path / "settings.ini").write_bytes((ROOT / "settings.ini").read_bytes())
    (tmp_path / "nbs" / "references.ipynb").write_text("{}")
    pages = {name: checker.Page(name) for name in (page.name, checker.REFERENCES)}
    assert [f.text for f in checker.check_citations(tmp_path, pages, page)] == ["references.ipynb#nobody-1999"]


@pytest.mark.slow
def test_words(book):
    assert [f"{f['text']!r} {f['why']}" for f in book["findings"] if f["kind"] == "words"] == []


# -- the checker ------------------------------------------------------------------------------------------------------


def code(source, **output):
    """A code cell with one output."""
    if "output_type" not in output:
        output = {"output_type": "stream", "name": "stdout"} | output
    return {"cell_type": "code", "source": source, "execution_count": 1, "outputs": [output] if len(output) > 2 else []}


def shown(**data):
    return {"output_type": "display_data", "metadata": {}, "data": {key.replace("_", "/", 1): value for key, value in data.items()}}


GOOD = [
    """## A heading here

It ends in an equation, (1.1), with `code` and $a_k$:

$$\\sum_{k=1}^K \\pi_k = 1 \\tag{1.1}$$

The colour of the centre: see [below](#lower), [a section](references.ipynb#a-section), [there](references.ipynb#somebody-1999), or [all](good.ipynb).

<a id="lower"></a>Somebody (1999), *The color of the center*. ![A point](point.png)

### Details

- Virginica's setosa of mclust, unrealised

<details><summary>Answer</summary>

Yes.

</details>""",
    code("#| fig-alt: A point\ndraw()", **shown(image_png=PIXEL)),
    code("1", **shown(text_html='<svg aria-label="a line"></svg><svg aria-hidden="true"></svg>', text_plain="<a line>")),
    code('def f(x):\n    """Text of `teh`.\n\n    Parameters\n    ----------\n    qwerta : ndarray\n        A value.\n\n    >>> teh()\n    """'),
]

# kind of finding: the cells of a page, each with what is to be found in it
DEFECTS = {
    "site": [
        (code("#| export\ndef f(): pass\nraise_it()"), "raise_it"),
        (code("#| echo: false\n#| fig-alt: A picture: two clumps\ndraw()"), "#| fig-alt: A picture"),
    ],
    "links": [
        ("[x](nowhere.ipynb)", "nowhere.ipynb"),
        ("[x](good.ipynb#nowhere)", "no such anchor on the site"),
        ("[x](#nowhere)", "no such anchor on the site"),
        ("## A section\n\n[x](#a-section)", "no such anchor in Jupyter"),
        ("[x](good.ipynb#A-heading-here)", "no such anchor on the site"),
        ("![A point](nowhere.png)", "nowhere.png"),
        ('<a href="nowhere.ipynb">x</a>', "nowhere.ipynb"),
        ("[x](../settings.ini)", "not on the site"),
        ("[x](https://github.com/gmm-lit/gmm_lit/blob/main/nowhere.py)", "not in the repository"),
        ("[x](https://gmm-lit.github.io/gmm_lit/nowhere.html)", "no page of the site"),
    ],
    "citations": [("[X](references.ipynb#nobody-1999)", "nobody-1999")],
    "numbers": [
        ("By (1.9), or (1.1).", "(1.9)"),
        ("$$x \\tag{1.1}$$", "two equations"),
        (code('def f():\n    """Equation (1.8)."""'), "(1.8)"),
    ],
    "pictures": [
        ("![](point.png)", "point.png"),
        ('<img src="point.png">', "point.png"),
        (code("draw()", **shown(image_png=PIXEL)), "an output"),
        (code("1", **shown(text_html="<p><svg></svg></p>", text_plain="x")), "<svg>"),
    ],
    "outputs": [
        (code("f()", name="stderr", text="it is late"), "stderr"),
        (code("f()", output_type="error", ename="E", evalue="", traceback=["wrong"]), "error"),
        (code("f()", text="Traceback (most recent call last):\n  ..."), "an error"),
        (code("f()", text="x.py:3: UserWarning: late"), "a warning"),
        (code("f()", text="\x1b[31mred\x1b[0m"), "an error"),
        (code("f()", text="read /tmp/x.csv"), "/tmp/x.csv"),
        (code("f()", text="read /home/me/x.csv"), "/home/me/x.csv"),
        (code("f()", text="read C:\\Users\\me"), "C:\\"),
        (code("f()", text="lib/site-packages/x"), "site-packages"),
        (code("f()", **shown(text_plain="<X object at 0x7f00aa00bb>")), "at 0x"),
    ],
    "headings": [
        ("## Too deep\n\n#### Down here", "level 4, after one of level 2"),
        ('<a id="twice"></a>\n\n<a id="twice"></a>', "the id of 2 things"),
        ("# Again", "second title"),
    ],
    "equations": [("So $\\frac{a}{$ it is", "LaTeX"), ("$$x^2^3$$", "LaTeX")],
    "markup": [
        (code("f", **shown(text_markdown="```python\ndef f(\n    x, # From [`y`](https://site.io/y.html#y).\n)\n```")), "](https"),
        (code("f", **shown(text_markdown="| [[`y`](https://site.io/y.html#y)](good.ipynb) |\n|---|\n| 1 |")), "](https"),
        ("It costs $5.", "$5."),
        ("So **bold it is.", "**bold"),
        ("So *slanted it is.", "*slanted"),
        ("A list:\n- one\n- two", "- one"),
        ("<details><summary>Answer</summary>", "<details>"),
        ("```python\nx = 1", "```python"),
    ],
    "spelling": [
        ("All of teh rows", "teh"),
        ("The color of it", "American: colour"),
        ("We initialize it", "American: initialise"),
        ("**V**aryng it is", "Varyng"),
        ("![A dott](point.png)", "dott"),
        (code("#| fig-alt: A centrre\ndraw()"), "centrre"),
        (code('class A:\n    def f(x):\n        """Text.\n\n        Parameters\n        ----------\n        x : int\n            A valeu."""'), "valeu"),
    ],
}


def cell(content, name):
    made = content if isinstance(content, dict) else {"cell_type": "markdown", "source": content}
    return made | {"id": name, "metadata": {}}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A book with a good page and a page for each kind of defect, and what is found in it."""
    root = tmp_path_factory.mktemp("book")
    (root / "nbs").mkdir()
    (root / "tests").mkdir()
    (root / "tests" / "words.txt").write_text("setosa\nmclust\nneedless\nvirginica\n", encoding="utf-8")
    (root / "settings.ini").write_bytes((ROOT / "settings.ini").read_bytes())
    (root / "nbs" / "point.png").write_bytes(b"")
    contents = {"good": GOOD, "references": ['## A section\n\n<a id="somebody-1999"></a>Somebody (1999).']}
    for name, cells in (contents | {kind: [content for content, _ in cells] for kind, cells in DEFECTS.items()}).items():
        cells = [f"# A title\n\n> One line.", *cells]
        cells = [cell(content, f"cell-{i}") for i, content in enumerate(cells)]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (root / "nbs" / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return findings("--root", root)


def test_a_good_page_is_good(made_up):
    assert [f for f in made_up["findings"] if f["page"] in ("nbs/good.ipynb", "nbs/references.ipynb") and f["text"] != "1.1"] == []


@pytest.mark.parametrize("kind, number", [(kind, i) for kind, cells in DEFECTS.items() for i in range(len(cells))])
def test_a_defect_is_found(made_up, kind, number):
    _, expected = DEFECTS[kind][number]
    here = [f for f in made_up["findings"] if (f["page"], f["kind"]) == (f"nbs/{kind}.ipynb", kind)]
    if expected not in ("<details>", "raise_it"):  # these are of the whole page
        here = [f for f in here if f"cell-{number + 1}" in f["cell"].split(", ")]
    assert any(expected in f"{f['text']} {f['why']}" for f in here), here


def test_a_page_has_no_other_defects(made_up):
    others = [f for f in made_up["findings"] if f["kind"] not in (Path(f["page"]).stem, "words") and f["text"] != "1.1"]
    assert [f for f in others if f["text"] not in ("<div>", "<details>", "<summary>")] == []


def test_every_kind_of_defect_is_made_up():
    assert set(DEFECTS) == set(KINDS)


def test_words_that_are_needless_or_out_of_order(made_up):
    assert {(f["text"], "sorted" in f["why"]) for f in made_up["findings"] if f["kind"] == "words"} == {("mclust", True), ("needless", False)}


@pytest.mark.parametrize("wrong", [
    r"\frac{a}{b", r"\frac{a}", r"a}", r"\alpah", r"\mathbf{x", r"x^2^3", r"x_a_b", r"\left( a", r"\left( a \right", r"a \right)", r"\hat", "a_",
    r"\begin{aligned} a &= b \end{align}", r"a & b", r"\begin{nothing} a \end{nothing}"])
def test_wrong_equations_are_rejected(wrong):
    assert list(checker.why_not_math([r"\pi_k", wrong])) == [wrong]


def test_right_equations_are_not():
    right = [r"\begin{cases} a & b \\ c & d \end{cases}", r"\begin{aligned} a &= b \\ &= c \end{aligned}", r"\operatorname*{arg\,max}_x f(x)", r"x'^2",
             r"\underbrace{a}_{b} \tag{3.2}", r"\left\lVert \hat\Sigma_k^{-1/2} (x - \mu_k) \right\rVert^2", r"\text{for all } k", r"\tfrac12 \log\det \boldsymbol\Sigma"]
    assert checker.why_not_math(right) == {}


@pytest.mark.parametrize("word", ["colour", "initialise", "initialised", "optimisation", "centre", "centred", "centring", "metres", "modelling", "grey", "neighbours",
                                  "size", "sized", "prize", "licence", "program", "Bayes's", "don't", "analyse", "labelled", "artefact"])
def test_british_words_are_right(word):
    assert checker.why_misspelt(word) == ""


@pytest.mark.parametrize("word", ["color", "Colors", "initialize", "initializing", "optimization", "center", "centered", "meters", "modeling", "gray", "neighbors",
                                  "analyze", "labeled", "artifact", "standardized", "behavior"])
def test_american_words_are_not(word):
    assert "American" in checker.why_misspelt(word)


# -- the reference ----------------------------------------------------------------------------------------------------

MODULES = sorted(m.name for m in pkgutil.iter_modules(gmm_lit.__path__) if not m.name.startswith("_"))
WITHOUT_EXAMPLE = {"selection.serve": "it would wait for its input", "selection.Helper": "it begins a process"}
SECTION = re.compile(r"^([A-Z]\w+)\n-{3,}\n", flags=re.MULTILINE)


def sections(doc):
    """Sections of a numpydoc docstring by name; what stands before the first is called Summary."""
    parts = ["Summary", *SECTION.split(doc)]
    return dict(zip(parts[::2], parts[1::2]))


def entries(section):
    """Names of the entries of a section, each with the type that follows."""
    found = re.findall(r"^(\S[^:\n]*?)(?: : (.*))?$", section, flags=re.MULTILINE)
    return {name.strip(): kind for names, kind in found for name in names.split(",")}


def parameters(thing):
    """Names in the signature, and their defaults; those of a class that takes them over from another are documented there."""
    own = inspect.isfunction(thing) or {"__init__", "__new__"} & vars(thing).keys()
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = inspect.signature(thing).parameters if own else {}
    return {stars.get(p.kind, "") + name: p.default for name, p in found.items() if name not in ("self", "cls")}


def own_nodes(function):
    """What a function itself does, without the functions and classes in it."""
    left = list(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body)
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            left += ast.iter_child_nodes(node)


def reference_faults(name, thing):
    """The rules, in the order of a docstring."""
    doc, nodes = inspect.getdoc(thing) or "", []
    said = sections(doc)
    if inspect.isfunction(thing):
        nodes = list(own_nodes(thing))
    if not re.match(r"[^\n]+(\n[^\n]+)*[.?](\n\n|\n?\Z)", doc):
        yield "its summary is a paragraph that ends with a period"
    documented, wanted = entries(said.get("Parameters", "")), parameters(thing)
    if set(documented) != set(wanted):
        yield f"its parameters are {list(wanted)}, but documented are {list(documented)}"
    untyped = [name for name, kind in documented.items() if not kind and not name.startswith("*") and name != "y"]
    if untyped:
        yield f"types and shapes are missing: {untyped}"
    with_default = [name for name, value in wanted.items() if value is not inspect.Parameter.empty and documented.get(name)]
    silent = [name for name in with_default if not re.search("default|optional|None|ignored", documented[name])]
    if silent:
        yield f"defaults are missing: {silent}"
    if any(isinstance(node, ast.Return) and node.value is not None for node in nodes) and "Returns" not in said:
        yield "Returns is missing"
    if any(isinstance(node, ast.Yield) for node in nodes) and not hasattr(thing, "__wrapped__") and "Yields" not in said:
        yield "Yields is missing"
    if any(isinstance(node, ast.Raise) and node.exc is not None for node in nodes) and "Raises" not in said:
        yield "Raises is missing"
    if ">>> " not in doc and name not in WITHOUT_EXAMPLE:
        yield "an example is missing"
    if re.search(r"^np\.\w+\(|\+SKIP", doc, flags=re.MULTILINE):
        yield "an example prints what NumPy 1 prints otherwise, or is skipped"


@pytest.mark.parametrize("module", MODULES)
def test_reference(module):
    names = importlib.import_module(f"gmm_lit.{module}")
    things = {f"{module}.{name}": getattr(names, name) for name in getattr(names, "__all__", ())}
    here = {name: thing for name, thing in things.items()
            if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__ == names.__name__}
    assert [f"{name}: {fault}" for name, thing in here.items() for fault in reference_faults(name, thing)] == []


def documented(first, second=1):
    """Halve a number.

    Parameters
    ----------
    first : float
    second : int, default 1

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is odd.

    Examples
    --------
    >>> documented(2)
    1.0
    """
    if first % 2:
        raise ValueError("odd")
    return first / 2


@pytest.mark.parametrize("old, new, fault", [
    ("Halve a number.", "Halve a number", "summary"), ("first : float", "other : float", "parameters are"),
    ("first : float", "first", "types"), ("Returns\n-------", "Results", "Returns"), ("Raises\n------", "Errors", "Raises"), (">>> ", "", "example"), ("1.0", "np.float64(1.0)", "NumPy"),
    ("(2)", "(2)  # doctest: +SKIP", "skipped")])
def test_reference_faults_are_found(old, new, fault):
    assert list(reference_faults("documented", documented)) == []
    other = types.FunctionType(documented.__code__, documented.__globals__, argdefs=documented.__defaults__)
    other.__doc__ = inspect.getdoc(documented).replace(old, new)
    assert any(fault in found for found in reference_faults("documented", other))
