"""The glossary holds together: ids are unique, words are in order, links lead to a heading, and the page linked to uses the word."""

import json
import re
from pathlib import Path

import pytest

NBS = Path(__file__).resolve().parent.parent / "nbs"
ENTRY = re.compile(r'^<a id="([^"]+)"></a>\*\*(.+?)\*\*(.*)$', re.MULTILINE)
LINK = re.compile(r"\[[^\]]+\]\(([\w/]+\.ipynb)(?:#([^)]*))?\)")


def prose(name, kind="markdown"):
    cells = json.loads((NBS / name).read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)


def anchors(name):
    """The anchors that Quarto gives to headings, and those given by hand."""
    text = prose(name)
    headings = [re.sub(r"[`*$]", "", line).strip().lower() for line in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)]
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", line)) for line in headings} | set(re.findall(r'<a id="([^"]+)">', text))


def in_order(word):
    """Word by word, as dictionaries do: "E step" is before "EM"."""
    return re.sub(r"[^a-z0-9]+", " ", word.lower().replace("'", "")).strip()


def plain(text):
    return re.sub(r"[\s-]+", " ", text.lower().replace("*", ""))


def used(word, text):
    """Is the word there, in the singular or the plural, with hyphens or spaces?"""
    word = plain(re.sub(r", number of$", "", word))
    stems = {word, word.removesuffix("y") + "ie", word.removesuffix("ion"), word.removesuffix("method").strip()}
    return any(re.search(r"(?<![a-z])" + re.escape(stem), text) for stem in stems if len(stem) > 1)


GLOSSARY = prose("glossary.ipynb")
ENTRIES = ENTRY.findall(GLOSSARY)


def test_there_are_entries():
    assert len(ENTRIES) == GLOSSARY.count("**") / 2 >= 60, "each bold word is an entry with an anchor"


def test_ids_are_unique():
    ids = re.findall(r'<a id="([^"]+)">', GLOSSARY)
    assert len(ids) == len(set(ids))


def test_words_are_in_order():
    words = [in_order(word) for _, word, _ in ENTRIES]
    assert words == sorted(words)


def test_links_within_the_glossary():
    assert set(re.findall(r"\]\(#([^)]+)\)", GLOSSARY)) <= anchors("glossary.ipynb")


@pytest.mark.parametrize("id, word, rest", ENTRIES, ids=[id for id, _, _ in ENTRIES])
@pytest.mark.thorough
def test_entry(id, word, rest):
    where = LINK.findall(rest.split(" → ")[-1])
    assert " → " in rest and where, "no link to a chapter"
    code = [name.removesuffix("()") for name in re.findall(r"`([^`]+)`", rest.split("<br>")[0])]
    for name, anchor in LINK.findall(rest):
        assert (NBS / name).exists(), f"no page {name}"
        assert not anchor or anchor in anchors(name), f"{name} has no heading #{anchor}"
    for name, _ in where:
        text = prose(name)
        everything = text + prose(name, "code")
        assert used(word, plain(text)) or any(name_in_code in everything for name_in_code in code), f"{name} does not use it"
