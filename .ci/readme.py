"""Make README.md and its pictures from nbs/index.ipynb, as it is stored: nothing is run.

A cell with `#| hide`, `#| include: false`, or an export directive is left out; `#| echo: false` keeps only its output,
`#| output: false` only its source. A picture takes its alternative text from `#| fig-alt: ...`.
"""

import argparse
import base64
import posixpath
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
SOURCE, README, PICTURES = "nbs/index.ipynb", "README.md", "nbs/images/readme"
NOTE = '<!-- Made from nbs/index.ipynb by "make readme": edit the notebook, not this file. -->\n\n'
LEFT_OUT = {"hide", "export", "exporti", "exports", "default_exp"}
NO_SOURCE = "no-source"
DIRECTIVE = re.compile(r"^#\s*\|\s*([\w-]+)\s*:?\s*(.*?)\s*$")
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}


def split_directives(source):
    """The `#| name: value` lines that open a cell, as a dict, and the rest of the cell."""
    said, lines = {}, source.splitlines()
    while lines and (found := DIRECTIVE.match(lines[0])):
        said[found[1]] = re.sub(r"""^(["'])(.*)\1$""", r"\2", found[2])
        lines.pop(0)
    return said, "\n".join(lines).strip("\n")


def is_left_out(said):
    return bool(LEFT_OUT & said.keys()) or said.get("include") == "false"


def from_top(link):
    """A link written in nbs/, as seen from the top of the project. Addresses and anchors stay as they are."""
    if re.match(r"[a-zA-Z][\w+.-]*:|[#/]", link):
        return link
    return posixpath.normpath(posixpath.join("nbs", link))


def move_links(text):
    """Links and pictures of a markdown cell, outside fenced code, as seen from the top of the project."""
    parts = re.split(r"(^```.*?^```[^\n]*$)", text, flags=re.MULTILINE | re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(\]\()([^)\s]+)", lambda m: m[1] + from_top(m[2]), parts[i])
        parts[i] = re.sub(r"(^\[[^\]]+\]:\s*)(\S+)", lambda m: m[1] + from_top(m[2]), parts[i], flags=re.MULTILINE)
        parts[i] = re.sub(r"""(\b(?:src|href)=["'])([^"']+)""", lambda m: m[1] + from_top(m[2]), parts[i])
    return "".join(parts)


def picture_of(data):
    """Type and bytes of the picture in an output, if there is one."""
    for mime in EXTENSIONS.keys() & data.keys():
        return mime, data[mime].encode() if mime == "image/svg+xml" else base64.b64decode(data[mime])
    return None


class Maker:
    """Turns the cells of the notebook into those of the readme, and collects the pictures on the way."""

    def __init__(self):
        self.pictures = {}

    def cell(self, cell):
        """Make a cell ready for the readme; False leaves it out."""
        if cell.cell_type == "markdown":
            cell.source = move_links(cell.source)
            return True
        said, cell.source = split_directives(cell.source)
        if cell.cell_type != "code" or is_left_out(said):
            return False
        cell.metadata["tags"] = [NO_SOURCE] if said.get("echo") == "false" or not cell.source else []
        cell.outputs = [] if said.get("output") == "false" else [self.output(out, said) for out in cell.outputs]
        return True

    def output(self, out, said):
        """Pictures become files and links to them; style sheets of tables go, since code hosts print them as text."""
        data = out.get("data", {})
        picture = picture_of(data)
        if picture:
            out.data = {"text/markdown": self.store(*picture, said.get("fig-alt", ""))}
        elif "text/html" in data:
            out.data["text/html"] = re.sub(r"<style.*?</style>\s*", "", data["text/html"], flags=re.DOTALL)
        return out

    def store(self, mime, content, alt):
        path = f"{PICTURES}/picture-{len(self.pictures) + 1}.{EXTENSIONS[mime]}"
        self.pictures[path] = content
        return f"![{alt}]({path})"


def make_readme(root=ROOT):
    """All files that belong to the readme: path from the top of the project -> bytes."""
    notebook = nbformat.read(root / SOURCE, as_version=4)
    maker = Maker()
    notebook.cells = [cell for cell in notebook.cells if maker.cell(cell)]
    notebook.metadata["language_info"] = {"name": "python"}
    config = Config(TagRemovePreprocessor={"enabled": True, "remove_input_tags": {NO_SOURCE}})
    text, _ = MarkdownExporter(config=config).from_notebook_node(notebook)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return {README: (NOTE + text).encode()} | maker.pictures


def stale(files, root=ROOT):
    """Paths that differ from what they should be, and pictures that are no longer used."""
    wrong = [path for path, content in files.items() if not (root / path).is_file() or (root / path).read_bytes() != content]
    kept = [path.relative_to(root).as_posix() for path in sorted((root / PICTURES).glob("*"))]
    return wrong, [path for path in kept if path not in files]


def write(files, wrong, unused, root=ROOT):
    for path in wrong:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(files[path])
    for path in unused:
        (root / path).unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is out of date")
    check = parser.parse_args().check
    files = make_readme()
    wrong, unused = stale(files)
    if not check:
        write(files, wrong, unused)
    elif wrong or unused:
        print(f"not what {SOURCE} makes (make readme): {', '.join(wrong + unused)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
