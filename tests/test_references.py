"""The list of references and the pages that cite it belong together."""

import importlib
import inspect
import json
import pkgutil
import re
import unicodedata
from pathlib import Path

import pytest

import gmm_lit

NBS = Path(__file__).resolve().parent.parent / "nbs"
PAGES = sorted(path for path in NBS.rglob("*.ipynb") if not any(part[0] in "_." for part in path.relative_to(NBS).parts))


def markdown(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


LIST = markdown(NBS / "references.ipynb")
KEYS = re.findall(r'<a id="([^"]+)"></a>', LIST)
ENTRIES = {re.match(r'<a id="([^"]+)"', entry)[1]: entry for entry in LIST.split("\n\n") if entry.startswith("<a id=")}
CITED = {path: re.findall(r"\]\((?:\.\./)*references\.ipynb#([^)]+)\)", markdown(path)) for path in PAGES}
DOCS = "\n".join(inspect.getsource(importlib.import_module(f"gmm_lit.{module.name}")) for module in pkgutil.iter_modules(gmm_lit.__path__))


def plain(text):
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()


def test_keys_are_unique_and_say_who_and_when():
    assert len(set(KEYS)) == len(KEYS) == len(ENTRIES)
    for key, entry in ENTRIES.items():
        who, year = re.fullmatch(r"([a-z0-9]+)-(\d{4})[a-z]?", key).groups()
        head = re.match(r'<a id="[^"]+"></a>\*\*(.+?)\.\*\* ', entry)[1]
        assert plain(re.sub(r"\W", "", re.split(r"[ ,]", head)[0])) == who and f"({year})" in head, entry


@pytest.mark.parametrize("path", [path for path in PAGES if CITED[path]], ids=lambda path: path.stem)
def test_what_is_cited_is_listed(path):
    assert set(CITED[path]) <= set(KEYS), f"{path.name} cites {set(CITED[path]) - set(KEYS)}"


def test_what_is_listed_is_cited():
    cited = {key for path in PAGES for key in CITED[path]}
    for key, entry in ENTRIES.items():
        who, year = re.search(r"\*\*([^, ]+).*?\((\d{4})\)", entry).groups()
        in_a_docstring = re.search(rf"{re.escape(who)}\b[^.]*?[( ]{year}\)", DOCS)        # such as "Flury and Gautschi (1986)"
        assert key in cited or in_a_docstring, f"nobody cites {key}"


def test_what_a_docstring_names_is_listed():
    sections = re.findall(r'References\n +-+\n(.*?)(?:\n\n|""")', DOCS, flags=re.S)
    named = {(who, year) for section in sections for who, year in re.findall(r"([A-Z][\w-]+)(?:, [A-Z][\w-]+)*(?: and [A-Z][\w-]+)? \((\d{4})\)", section)}
    assert len(named) > 20 and {f"{plain(who)}-{year}" for who, year in named} <= set(KEYS), named


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_leads_somewhere(entry):
    for written, linked in re.findall(r"\[doi:(.+?)\]\(https://doi\.org/([^)]+)\)", entry):
        assert re.fullmatch(r"10\.\d{4,9}/[-._;()/:A-Za-z0-9]+", written)
        assert linked.replace("%28", "(").replace("%29", ")") == written
    assert entry.count("doi.org/") == entry.count("[doi:") <= 1
    chapters = re.findall(r"\]\(([\w/]+\.ipynb)\)", entry)
    assert chapters and all((NBS / chapter).exists() for chapter in chapters), "it says what it is used for, and where"


@pytest.mark.parametrize("path", [path for path in PAGES if path.stem not in {"references"}], ids=lambda path: path.stem)
@pytest.mark.thorough
def test_a_paper_in_prose_is_a_link(path):
    """Names with a year in brackets, as in `Ward (1963)` or `(Ward, 1963)`, are in the list, and the first one is a link."""
    prose = re.sub(r"```.*?```|\$\$.*?\$\$", "", markdown(path), flags=re.S)
    for entry in ENTRIES.values():
        key, who, year = re.search(r'id="([^"]+)"></a>\*\*([^, ]+).*?\((\d{4})\)', entry).groups()
        named = re.search(rf"\b{re.escape(who)}\b[^.()\[\]]{{0,60}}[ (]{year}\)?", prose)
        assert not named or key in CITED[path], f"{path.name}: {named[0]}"
