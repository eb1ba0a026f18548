"""Make what the web site needs beside its pages, without Quarto: nbs/llms.txt, a list of them for programs that read; in
nbs/open-in.html, the line under each title which says where the page can be opened, the names of the notebooks; and
nbs/images/card.png, the picture that is shown where somebody links to the site.

`--check` writes nothing, and exits 1 when one of the first two is out of date.
"""

import argparse
import json
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
LIST, LINE, CARD = "nbs/llms.txt", "nbs/open-in.html", "nbs/images/card.png"


def settings(root=ROOT):
    parser = ConfigParser(delimiters=["="])
    parser.read(root / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def sidebar(root=ROOT):
    """The sidebar of the site, flat: (depth, name of a section) and (depth, path of a page)."""

    def flat(contents, depth=0):
        for item in contents:
            if isinstance(item, str):
                yield depth, item
            else:
                yield depth, item["section"]
                yield from flat(item["contents"], depth + 1)

    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    return list(flat(config["website"]["sidebar"]["contents"]))


def title_and_line(path):
    """What a page says of itself: its title, and the line below it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    title, line = re.match(r"# (.+)\n+> (.+)", first).groups()
    return title, line


def page_name(notebook):
    """The page that nbdev makes of a notebook: numbers in front of its name go."""
    folder, slash, name = notebook.removesuffix(".ipynb").rpartition("/")
    return folder + slash + re.sub(r"^\d+[a-zA-Z0-9]*_", "", name)


def make_list(root=ROOT):
    """llms.txt: the name of the site, what it is, and every page with its address and what it says of itself."""
    said = settings(root)
    lines = [f"# {said['title']}", "", f"> {said['description']}", "",
             f"Source, tests and issues: {said['git_url']}. Every page below is a notebook: `nbs/PAGE.ipynb` there.", ""]
    for depth, item in sidebar(root):
        if item.endswith(".ipynb"):
            title, line = title_and_line(root / "nbs" / item)
            lines.append(f"- [{title}]({said['doc_host']}{said['doc_baseurl']}/{page_name(item)}.html): {line}")
        else:
            lines += ["", "#" * (depth + 2) + f" {item}", ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def make_line(root=ROOT):
    """open-in.html as it is, with the numbers that nbdev takes from the names of pages brought up to date."""
    pages = [item.removesuffix(".ipynb") for _, item in sidebar(root) if item.endswith(".ipynb")]
    numbered = {page_name(page): page for page in pages if page_name(page) != page}
    text = (root / LINE).read_text(encoding="utf-8")
    return re.sub(r"(?<=var numbered = )\{.*?\}(?=;)", lambda _: json.dumps(numbered), text)


def draw_card(path):
    """Old Faithful with two components, at the size that social sites ask for."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from gmm_lit import GaussianMixture
    from gmm_lit.datasets import load_faithful
    from gmm_lit.plotting import plot_mixture
    X = load_faithful().data
    gm = GaussianMixture(2, random_state=0).fit(X)
    fig = plt.figure(figsize=(12, 6.3), facecolor="white")
    fig.text(0.06, 0.58, settings()["title"], fontsize=54, weight="bold", color="#222222")
    fig.text(0.06, 0.40, "Gaussian mixture models\nas a book that runs", fontsize=26, color="#222222", linespacing=1.4)
    ax = fig.add_axes((0.54, 0.06, 0.43, 0.88))
    plot_mixture(X, gm.weights_, gm.means_, gm.covariances_, ax=ax)
    ax.get_legend().remove()
    ax.set_axis_off()
    fig.savefig(path, dpi=100, metadata={"Software": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = {LIST: make_list(), LINE: make_line()}
    stale = [name for name, text in files.items() if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text]
    if check and stale:
        print(f"{' and '.join(stale)}: not what the pages say (make readme)")
    elif not check:
        for name in stale:
            (ROOT / name).write_text(files[name], encoding="utf-8")
        draw_card(ROOT / CARD)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
