"""Check every page of the book as the web site shows it, without Quarto: `make pages` runs it.

Each notebook goes through nbdev's processors, in memory, as it does on its way to the site, and then through pandoc, which
is what Quarto itself reads markdown with. The pages are looked through for

    site        what stops the site from being made, as options of a cell do that are no YAML
    links       links, anchors and pictures that lead nowhere, on the site or in Jupyter. Jupyter has other names for
                the sections of a page: it opens another page at its top, but a link within a page needs <a id=...>
    citations   links to nbs/references.ipynb without their entry there
    numbers     an equation that is cited, such as (3.2), but not there; one that is there twice
    pictures    a picture without a text alternative
    outputs     errors, warnings, text on stderr, paths and addresses of a machine
    headings    a second title, a jump to a deeper level, an id that is there twice
    equations   LaTeX that does not parse
    markup      markdown, dollar signs or HTML that stayed what they were, also links in code
    spelling    words that no dictionary knows, and American ones; tests/words.txt holds names and terms
    words       lines of tests/words.txt that are out of order, or that no page needs
    readme      README.md is not what nbs/index.ipynb makes

A line for each finding, and the exit code 1 when there are any. Nothing is run but exported cells and imports, for nbdev
asks them for their docstrings; nothing is written.
"""

import argparse
import ast
import builtins
import json
import os
import posixpath
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from configparser import ConfigParser
from dataclasses import asdict, dataclass, field
from functools import cache
from html.parser import HTMLParser
from importlib import resources
from itertools import takewhile
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import unquote

from check import ROOT, directives, notebooks

FREE = ("Notes", "References", "Examples", "Warnings")  # sections of a docstring that are prose
KINDS = re.findall(r"^ {4}(\w+) {2,}", __doc__, flags=re.MULTILINE)
REFERENCES = "nbs/references.ipynb"
WORDS = "tests/words.txt"
TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
CODE, OUTPUT, SVG = "\ufffc", "an output", "<svg>"  # what stands for code in prose, and for pictures without a file
MADE = ("README.md",)  # its prose is that of nbs/index.ipynb


@dataclass(order=True)
class Finding:
    """Something to mend: where (page and cell), the text as it stands, and what is wrong with it."""

    kind: str
    page: str
    cell: str
    text: str
    why: str

    def __str__(self):
        return f"{self.page} [{self.cell}] {self.kind}: {self.text!r} {self.why}"


@dataclass
class Page:
    """What the checks ask of a page; everything in the lists comes with the id of its cell."""

    name: str
    ids: list = field(default_factory=list)
    headings: list = field(default_factory=list)  # level, text
    links: list = field(default_factory=list)
    images: list = field(default_factory=list)  # source, text alternative
    equations: list = field(default_factory=list)
    prose: list = field(default_factory=list)
    rest: list = field(default_factory=list)  # text of docstrings and alternatives: no markdown
    outputs: list = field(default_factory=list)
    printed: list = field(default_factory=list)  # outputs as the site shows them, with their code
    open: Counter = field(default_factory=Counter)  # HTML elements that were opened, less those that were closed
    sections: set = field(default_factory=set)  # the anchors that pandoc gives to headings
    jupyter: set = field(default_factory=set)  # those that are there in Jupyter
    site: list = field(default_factory=list)
    html: str = ""  # the name of the page on the site


# -- from notebooks to pages ------------------------------------------------------------------------------------------


def read_pages(root):
    """All pages of the book, and the texts beside it. Two processes share the notebooks.

    Each is given its share at once: nbdev's shell takes the place of `__main__`, and then no more work can be received.
    """
    paths = notebooks(root / "nbs")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        shares = pool.map(read_notebooks, [root] * 2, [paths[::2], paths[1::2]])
        pages = [page for share in shares for page in share]
    pages += [read_text(root, name) for name in TEXTS if (root / name).exists()]
    return {page.name: page for page in sorted(pages, key=lambda page: page.name)}


def read_notebooks(root, paths):
    """nbdev looks for settings.ini in the current folder, and pictures want no window."""
    os.environ.update(MPLBACKEND="Agg", IN_TEST="1")
    os.chdir(root)
    return [read_notebook(root, path) for path in paths]


def read_notebook(root, path):
    raw = json.loads(path.read_text(encoding="utf-8"))
    for cell in raw["cells"]:
        cell["source"] = "".join(cell["source"])
    page = Page(path.relative_to(root).as_posix(), html=path.relative_to(root / "nbs").with_suffix(".html").as_posix())
    Reader(page).feed(to_html("".join(processed(path, page, raw["cells"]))))
    for cell in raw["cells"]:
        read_raw(page, cell)
        page.site += [(cell["id"], error) for error in wrong_options(cell)]
    return page


def wrong_options(cell):
    """The lines `#| name: value` at the head of a cell are YAML to Quarto; a colon in a value is not, unless it is quoted."""
    import yaml

    for line in takewhile(lambda line: line.startswith("#|"), cell["source"].splitlines()):
        try:
            yaml.safe_load(line[2:])
        except yaml.YAMLError:
            yield line


def processed(path, page, cells):
    """Markdown of the notebook as nbdev hands it to Quarto; a comment before each cell says where it comes from."""
    import yaml
    from execnb.nbio import read_nb, write_nb
    from nbdev.processors import FilterDefaults

    notebook = read_nb(path)
    try:
        FilterDefaults()(notebook)
        with tempfile.TemporaryDirectory() as folder:
            write_nb(notebook, Path(folder) / path.name)
    except Exception as error:  # whatever it is, the site could not be made
        page.site.append(("", f"{type(error).__name__}: {error}"))
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "raw" and number == 0:
            front = yaml.safe_load(cell.source.strip("- \n")) or {}
            page.html = posixpath.join(posixpath.dirname(page.html), front.get("output-file", posixpath.basename(page.html)))
            yield mark(cells[0]["id"]) + f"<h1>\n{front.get('title', '')}\n</h1>\n\n{front.get('description', '')}\n\n"
        elif cell.cell_type == "markdown":
            yield mark(cell.id) + cell.source + "\n\n"
        elif cell.cell_type == "code":
            shown = re.search(r"^show_doc\(.*\)$", cell.source, flags=re.MULTILINE)
            yield from output_text(cell, shown[0] if shown else cell.id)


def mark(cell, output=False):
    return f"\n\n<!-- {'output' if output else 'cell'} {cell} -->\n\n"


def output_text(cell, name):
    """Outputs that are markdown or HTML; pictures and plain text are looked at where they are stored."""
    for out in cell.get("outputs", []):
        data = out.get("data", {})
        for mime, fence in (("text/markdown", "{}"), ("text/html", "~~~~~~{{=html}}\n{}\n~~~~~~")):
            if mime in data:
                yield mark(name, output=True) + fence.format("".join(data[mime])) + "\n\n"
                break


def read_text(root, name):
    page = Page(name)
    text = (root / name).read_text(encoding="utf-8")
    Reader(page).feed(to_html(mark("text") + text))
    page.jupyter = {value for value, _ in page.ids}  # nobody reads it in Jupyter
    return page


def to_html(text, *options, reader="markdown"):
    import pypandoc

    options = ["-f", reader, "-t", "html", "--wrap=preserve", "--syntax-highlighting=none", *(options or ["--mathjax"])]
    command = [pypandoc.get_pandoc_path(), *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", check=True).stdout


class Reader(HTMLParser):
    """Sorts what a page holds into its lists. Prose comes a block at a time, with `CODE` for code and equations in it."""

    SILENT = {"code", "pre", "script", "style", "svg", "kbd", "samp"}
    INLINE = {"a", "abbr", "b", "code", "em", "i", "img", "kbd", "samp", "small", "span", "strong", "sub", "sup", "u", "var",
              "wbr"}
    VOID = {"br", "hr", "img", "input", "col", "wbr", "source", "track", "area", "embed", "meta", "link", "base"}

    def __init__(self, page):
        super().__init__()
        self.page, self.cell, self.is_output, self.silent = page, "", False, Counter()
        self.block, self.level, self.equation = [], 0, None

    def handle_comment(self, text):
        self.end_block()
        kind, _, cell = text.strip().partition(" ")
        if kind in ("cell", "output"):
            self.cell, self.is_output = cell, kind == "output"

    def end_block(self):
        text = "".join(self.block).strip()
        self.block = []
        if not text:
            return
        if self.is_output:
            self.page.printed.append((text, self.cell))
            return
        self.page.prose.append((text, self.cell))
        if self.level:
            self.page.headings.append((self.level, text, self.cell))
            self.page.jupyter.add(text.replace(" ", "-"))

    def handle_starttag(self, tag, attributes):
        said, page = dict(attributes), self.page
        if tag not in self.INLINE:
            self.end_block()
        if tag not in self.VOID:
            page.open[tag] += 1
        if tag in self.SILENT:
            self.silent[tag] += 1
        self.keep_ids(tag, said)
        if tag == "a" and said.get("href"):
            page.links.append((said["href"], self.cell))
        elif tag == "img":
            page.images.append((said.get("src", ""), said.get("alt", ""), self.cell))
            page.rest.append((said.get("alt") or "", self.cell))
        elif tag == "svg" and self.silent["svg"] == 1 and said.get("aria-hidden") != "true":
            page.images.append((SVG, said.get("aria-label", ""), self.cell))
        elif re.fullmatch(r"h[1-6]", tag):
            self.level = int(tag[1])
        elif tag == "span" and "math" in said.get("class", "").split():
            self.equation = []

    def keep_ids(self, tag, said):
        """Those of headings are pandoc's: Jupyter makes its own from their words."""
        ids = {said[key] for key in ("id", "name") if said.get(key) and (key == "id" or tag == "a")}
        if ids and not self.silent["svg"]:
            self.page.ids += [(value, self.cell) for value in sorted(ids)]
            if re.fullmatch(r"h[1-6]", tag):
                self.page.sections |= ids
            elif not self.is_output:
                self.page.jupyter |= ids

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            self.page.open[tag] -= 1
        if tag in self.SILENT:
            self.silent[tag] -= 1
        if tag in ("code", "svg"):
            self.block.append(CODE)
        if tag not in self.INLINE:
            self.end_block()
        if re.fullmatch(r"h[1-6]", tag):
            self.level = 0
        elif self.equation is not None and tag == "span":
            text = re.sub(r"^\\[([]|\\[])]$", "", "".join(self.equation).strip())
            self.page.equations.append((text.strip(), self.cell))
            self.block.append(CODE)
            self.equation = None

    def handle_data(self, text):
        if self.equation is not None:
            self.equation.append(text)
        elif not +self.silent:
            self.block.append(text)
        elif self.is_output and self.silent["pre"]:
            self.page.printed.append((text, self.cell))


def read_raw(page, cell):
    """Docstrings, text alternatives and outputs, as they are stored."""
    if cell["cell_type"] != "code":
        return
    said = directives(cell["source"])
    page.rest += [(said.get("fig-alt", ""), cell["id"])] + [(text, cell["id"]) for text in docstrings(cell["source"])]
    for out in cell["outputs"]:
        data = out.get("data", {})
        if any(mime.startswith("image/") for mime in data):
            page.images.append((OUTPUT, said.get("fig-alt", ""), cell["id"]))
        texts = [data[mime] for mime in ("text/plain", "text/html", "text/markdown", "text/latex") if mime in data]
        kind = "stderr" if out.get("name") == "stderr" else out["output_type"]
        texts += [out.get("text", ""), out.get("traceback", "")]
        page.outputs += [(kind, "".join(text), cell["id"]) for text in texts if text or kind in ("stderr", "error")]


def docstrings(source):
    """The prose of the docstrings in a cell: no code, no headings of sections, no names and types."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = re.sub(r"^ *>>> .*?(?:\n *\n|\Z)", "\n", ast.get_docstring(node) or "", flags=re.MULTILINE | re.DOTALL)
            prose, *sections = re.split(r"^([A-Z][\w ]+)\n-{3,}$", text, flags=re.MULTILINE)
            for name, section in zip(sections[::2], sections[1::2]):
                prose += section if name in FREE else re.sub(r"^\S.*", "", section, flags=re.MULTILINE)
            yield re.sub(r"``.*?``|`.*?`|\$.*?\$|https?://\S+|^ *\.\. .*|\b[A-Z][a-z]+[A-Z]\w*", CODE, prose, flags=re.DOTALL)


# -- the checks -------------------------------------------------------------------------------------------------------


def check_site(root, pages, page):
    for cell, error in page.site:
        yield Finding("site", page.name, cell, error, "stops the making of the site")


def check_links(root, pages, page):
    pictures = [(source, cell) for source, _, cell in page.images if source not in (OUTPUT, SVG)]
    for target, cell in [*page.links, *pictures]:
        if not is_citation(page, target):
            why = why_no_link(root, pages, page, target)
            if why:
                yield Finding("links", page.name, cell, target, why)


def check_citations(root, pages, page):
    if (root / REFERENCES).exists():
        for target, cell in page.links:
            why = is_citation(page, target) and why_no_link(root, pages, page, target)
            if why:
                yield Finding("citations", page.name, cell, target, why)


def is_citation(page, target):
    path, _, anchor = target.partition("#")
    return bool(anchor) and posixpath.normpath(posixpath.join(posixpath.dirname(page.name), path)) == REFERENCES


def why_no_link(root, pages, page, target):
    """Addresses elsewhere are not asked; those of the site and of the repository are looked up here."""
    site, repository = addresses(root)
    target = unquote(target)
    path, _, anchor = target.partition("#")
    if path.startswith(site):
        found = [other for other in pages.values() if other.html and other.html == path.removeprefix(site).lstrip("/")]
        if not found:
            return "is no page of the site"
        return "" if not anchor or anchor in anchors(found[0]) else "has no such heading on the site"
    if path.startswith(f"{repository}/blob/main/"):
        return "" if (root / path.removeprefix(f"{repository}/blob/main/")).exists() else "is not in the repository"
    if re.match(r"[a-zA-Z][\w+.-]*:", target):
        return ""
    name = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), path)) if path else page.name
    if name.startswith("../") or name.startswith("/") or not (root / name).exists():
        return "does not exist"
    if page.name.startswith("nbs/") and not name.startswith("nbs/"):
        return "is not on the site: link to it in the repository"
    if not anchor or name not in pages:
        return "" if not anchor else "has anchors that nobody knows"
    if anchor not in anchors(pages[name]):
        return "has no such anchor on the site"
    elsewhere = name != page.name and anchor in pages[name].sections
    if elsewhere or anchor in pages[name].jupyter:
        return ""
    return "has no such anchor in Jupyter (an <a id=...></a> is one in both)"


def anchors(page):
    return {value for value, _ in page.ids}


@cache
def addresses(root):
    settings = ConfigParser(delimiters=["="])
    settings.read(root / "settings.ini", encoding="utf-8")
    said = settings["DEFAULT"]
    return said["doc_host"] + said["doc_baseurl"], said["git_url"]


def tags(page):
    return [(tag, cell) for text, cell in page.equations for tag in re.findall(r"\\tag\{(.*?)\}", text)]


def check_numbers(root, pages, page):
    known = [tag for other in pages.values() for tag, _ in tags(other)]
    chapters = {tag.split(".")[0] for tag in known}
    for tag, cell in tags(page):
        if known.count(tag) > 1:
            yield Finding("numbers", page.name, cell, tag, "is the number of two equations")
    for text, cell in [*page.prose, *page.rest]:
        for cited in re.findall(r"\((\d{1,2}\.\d{1,2}[a-z]?)\)", text):
            if cited.split(".")[0] in chapters and cited not in known:
                yield Finding("numbers", page.name, cell, f"({cited})", "is cited, but there is no such equation")


def check_pictures(root, pages, page):
    for source, alternative, cell in page.images:
        if not (alternative or "").strip():
            yield Finding("pictures", page.name, cell, source, "has no text alternative")


MACHINE = re.compile(r"""(?<![\w/.:])/(?:tmp|home|root|work|Users|private|var|opt|usr|mnt|srv)/[^\s'")<]*|\b[A-Z]:\\\w+"""
                     r"""|(?:site-packages|dist-packages|\.venv)/|\bat 0x[0-9a-f]{6,}|ipykernel_\d+""")
TROUBLE = re.compile(r"Traceback \(most recent call last\).*|^\S*:\d+: \w*Warning: .*|\x1b\[[0-9;]*m.*", flags=re.MULTILINE)


def check_outputs(root, pages, page):
    for kind, text, cell in page.outputs:
        if kind in ("stderr", "error"):
            yield Finding("outputs", page.name, cell, text[:80], f"is an output of the kind {kind}")
        for pattern, why in ((TROUBLE, "is an error or a warning"), (MACHINE, "is of one machine")):
            for found in pattern.findall(text):
                yield Finding("outputs", page.name, cell, found[:80], why)


def check_headings(root, pages, page):
    before = 0
    for level, text, cell in page.headings:
        if level == 1 and before:
            yield Finding("headings", page.name, cell, text, "is a second title")
        elif level > before + 1:
            yield Finding("headings", page.name, cell, text, f"is of level {level}, after one of level {before}")
        before = level
    for value, count in Counter(value for value, _ in page.ids).items():
        if count > 1:
            cells = dict.fromkeys(cell for other, cell in page.ids if other == value)
            yield Finding("headings", page.name, ", ".join(cells), value, f"is the id of {count} things")


def check_equations(root, pages, page):
    wrong = why_not_math(sorted({text for text, _ in page.equations}))
    for text, cell in page.equations:
        if text in wrong:
            yield Finding("equations", page.name, cell, text, wrong[text])


def why_not_math(texts):
    """LaTeX that one of two parsers rejects, and why.

    pandoc's knows no command that is not one, and counts braces and arguments; latex2mathml notices a missing \\right and
    double scripts, which pandoc lets pass.
    """
    from latex2mathml.converter import convert

    bare = [re.sub(r"\\tag\{[^{}]*\}", "", text) for text in texts]  # pandoc wants it in certain places only
    blocks = [{"t": "Para", "c": [{"t": "Math", "c": [{"t": "DisplayMath"}, text]}]} for text in bare]
    if not texts:
        return {}
    document = json.dumps({"pandoc-api-version": [1, 23, 1], "meta": {}, "blocks": blocks})
    made = to_html(document, "--mathml", reader="json").split("<p>")[1:]
    assert len(made) == len(texts), "a paragraph for each equation"
    wrong = {}
    for text, html in zip(texts, made):
        if "<math" not in html:
            wrong[text] = "is no LaTeX that pandoc can read"
            continue
        try:
            convert(text)
        except Exception as error:  # each of its errors is a class of its own
            wrong[text] = f"is no LaTeX: {type(error).__name__}"
    return wrong


LEFT = re.compile(r"""(?:\$+ | \*\*(?=\S) | (?<![\w*])\*(?=\w) | \]\( | ^[-*|]\s | ^\#+\s | ``` | :::).{0,40}""",
                  flags=re.MULTILINE | re.VERBOSE)

LINK = re.compile(r"\S*\]\(http.{0,40}")


def check_markup(root, pages, page):
    for text, cell in page.prose:
        for left in LEFT.findall(text.strip()):
            yield Finding("markup", page.name, cell, left,
                          "is shown as it stands: a blank line or another sign is missing")
    for text, cell in page.printed:
        for left in LINK.findall(text):
            yield Finding("markup", page.name, cell, left, "is shown as it stands: nbdev makes a link of a name in backticks")
    for tag, count in page.open.items():
        if count and tag not in ("p", "li", "td", "th", "tr", "tbody", "thead"):
            why = "is not closed" if count > 0 else "is closed without being open"
            yield Finding("markup", page.name, "", f"<{tag}>", why)


# -- spelling ---------------------------------------------------------------------------------------------------------

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
BOTH = set("""program programs license licensed licensing licenses practice practices story stories routing biased focused
    focuses focusing refocused refocuses refocusing writable overwritable judgment judgments dialog dialogs specialty
    specialties""".split())
IZE = re.compile(r"(\w+[iy])z(e|ed|es|er|ers|ing|able|ation|ations)$")
NOT_ISE = re.compile(r"(re|over|under|out|down|up)?siz|priz|seiz|capsiz|maiz")


@cache
def variants():
    """British words of the list that codespell brings, each with its American form."""
    path = resources.files("codespell_lib").joinpath("data/dictionary_en-GB_to_en-US.txt")
    return dict(line.split("->") for line in path.read_text(encoding="utf-8").split())


@cache
def dictionary():
    """pyspellchecker's list is American, so that what is British has to be looked up in two steps."""
    from spellchecker import SpellChecker

    return SpellChecker(language="en").word_frequency.dictionary


@cache
def americans():
    return {american: british for british, american in variants().items() if american not in BOTH}


@cache
def why_misspelt(word):
    """What is wrong with a word, if anything; it may begin with a capital, and end with 's."""
    low = re.sub(r"['’]s?$", "", word.lower().replace("’", "'"))
    if low in americans():
        return f"is American: {americans()[low]}"
    ise = IZE.search(low)
    if ise and not NOT_ISE.match(low):
        return f"is American: {ise[1]}s{ise[2]}"
    if low in variants() or low in dictionary() or word.lower() in dictionary():
        return ""
    for british, american in (("isa", "iza"), ("is", "iz"), ("our", "or"), ("tre", "ter"), ("ll", "l"), ("tring", "tering")):
        at = low.rfind(british)
        if at > 0 and low[:at] + american + low[at + len(british):] in dictionary():
            return ""
    return "is in no dictionary (a name or a term belongs into tests/words.txt)"


def prose_words(text):
    """Words as they stand, without what is code: names with digits, dots or underscores in them, Python's own, letters."""
    for chunk in re.split(r"[\s—–]+", text):
        chunk = chunk.strip(".,;:!?()[]{}\"'“”‘’…*")
        if re.search(rf"[\d_@\\=<>^#{CODE}]|\w\.\w|\w\(", chunk):
            continue
        for word in WORD.findall(chunk):
            short = re.sub(r"['’]s$", "", word)
            if len(short) > 1 and not (short.isupper() and short.isascii()) and not hasattr(builtins, word):
                yield word


def in_citation(text, word):
    """Does a word stand after a year in parentheses, as those of a title do? Titles keep the spelling that they have."""
    return bool(re.search(rf"\(\d{{4}}[a-z]?\)[^;]{{0,150}}\b{word}\b", text))


def around(text, word, width=30):
    at = text.find(word)
    return " ".join(text[max(0, at - width):at + len(word) + width].split())


@cache
def known_words(root):
    path = root / WORDS
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def listed(root, word):
    """The lines of tests/words.txt that allow a word."""
    short = re.sub(r"['’]s?$", "", word)
    return {word, short, word[0].lower() + word[1:], short[0].lower() + short[1:]} & set(known_words(root))


def check_spelling(root, pages, page):
    if page.name in MADE:
        return
    for text, cell in dict.fromkeys([*page.prose, *page.rest]):
        for word in dict.fromkeys(prose_words(text)):
            why = why_misspelt(word)
            if "American" in why and (page.name == REFERENCES or in_citation(text, word)):
                continue
            if why and not listed(root, word):
                yield Finding("spelling", page.name, cell, word, f"{why}; in {around(text, word)!r}")


def strange_words(pages):
    """Words of all pages that no dictionary knows; American ones are not among them."""
    return {word for page in pages.values() for text, _ in [*page.prose, *page.rest] for word in prose_words(text)
            if "dictionary" in why_misspelt(word)}


def words_as_listed(pages):
    """What tests/words.txt has to be to allow all strange words: sorted, and none with 's or a capital without need."""
    short = {re.sub(r"['’]s?$", "", word) for word in strange_words(pages)}
    short = {word for word in short if word[0].islower() or word[0].lower() + word[1:] not in short}
    return sorted(short, key=lambda word: (word.casefold(), word))


def check_words(root, pages):
    words = known_words(root)
    needed = {line for word in strange_words(pages) for line in listed(root, word)}
    for before, word in zip([""] + words, words):
        if word not in needed:
            yield Finding("words", WORDS, word, word, "is needed nowhere")
        if (before.casefold(), before) >= (word.casefold(), word):
            yield Finding("words", WORDS, word, word, f"comes after {before!r}: the list is sorted")


# -- all of it --------------------------------------------------------------------------------------------------------


def check_readme(root):
    import readme

    if (root / readme.SOURCE).exists():
        for path in sum(readme.stale(readme.make_readme(root), root), []):
            yield Finding("readme", "README.md", "", path, f"is not what {readme.SOURCE} makes (make readme)")


def find(root):
    """Findings of all pages, and the names of the pages."""
    pages = read_pages(root)
    checks = [check_site, check_links, check_citations, check_numbers, check_pictures, check_outputs, check_headings,
              check_equations, check_markup, check_spelling]
    found = [finding for page in pages.values() for check in checks for finding in check(root, pages, page)]
    return sorted([*found, *check_words(root, pages)]), list(pages)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="findings as JSON, for the tests")
    parser.add_argument("--words", action="store_true",
                        help="write tests/words.txt: take every unknown word for right (look at the change)")
    parser.add_argument("--root", type=Path, default=ROOT, help="another book: a folder with settings.ini and nbs")
    options = parser.parse_args()
    root = options.root.resolve()
    if options.words:
        (root / WORDS).write_text("\n".join(words_as_listed(read_pages(root))) + "\n", encoding="utf-8")
        return 0
    found, pages = find(root)
    if options.json:
        print(json.dumps({"findings": [asdict(finding) for finding in found], "pages": pages}))
        return 0
    found += check_readme(root)  # the tests leave that to .ci/check.py
    for finding in found:
        print(finding)
    print(f"{len(pages)} pages, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
