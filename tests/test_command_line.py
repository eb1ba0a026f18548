"""The command line: nasty files are read or refused in one line, and what is written is whole and right."""
import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import gmm_lit
from gmm_lit import command_line
from gmm_lit.command_line import Data, main, pick_columns, read_table
from gmm_lit.datasets import load_faithful, load_iris

QUICK = ["--components", "1-3", "--covariance", "tied,diag"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def geyser(in_folder):
    """Old Faithful as a plain file; its first three rows of data and a blank line at the end."""
    lines = ["eruption,waiting", *(f"{x:g},{y:g}" for x, y in load_faithful().data[::3]), ""]
    (in_folder / "geyser.csv").write_text("\n".join(lines))
    return "geyser.csv"


def write(content, name="data.csv"):
    with open(name, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    return name


def call(capsys, *words):
    """Exit status, standard output, standard error."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def python(*words, **options):
    environment = os.environ | {"MPLBACKEND": "Agg"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=120, **options)


# --- files that are read: name -> (content, names, columns)

NAN = np.nan
XY = [[1.5, 3.5, 5.25], [2, 4, 7]]
READ = {
    "comma": ("x,y\n1.5,2\n3.5,4\n5.25,7\n", ["x", "y"], XY),
    "no last line end": ("x,y\n1.5,2\n3.5,4\n5.25,7", ["x", "y"], XY),
    "carriage returns": ("x,y\r\n1.5,2\r\n3.5,4\r\n5.25,7\r\n", ["x", "y"], XY),
    "old Mac": ("x,y\r1.5,2\r3.5,4\r5.25,7\r", ["x", "y"], XY),
    "byte order mark": (b"\xef\xbb\xbfx,y\n1.5,2\n3.5,4\n5.25,7\n", ["x", "y"], XY),
    "byte order mark and quotes": (b'\xef\xbb\xbf"x","y"\n1.5,2\n3.5,4\n5.25,7\n', ["x", "y"], XY),
    "UTF-16": ("x\ty\n1.5\t2\n3.5\t4\n5.25\t7\n".encode("utf-16"), ["x", "y"], XY),
    "Latin-1 header": ("größe,y\n1.5,2\n3.5,4\n5.25,7\n".encode("cp1252"), ["größe", "y"], XY),
    "UTF-8 header": ("größe,y\n1.5,2\n3.5,4\n5.25,7\n", ["größe", "y"], XY),
    "no header": ("1.5,2\n3.5,4\n5.25,7\n", ["column 1", "column 2"], XY),
    "semicolon": ("x;y\n1.5;2\n3.5;4\n5.25;7\n", ["x", "y"], XY),
    "decimal commas": ("x;y\n1,5;2\n3,5;4\n5,25;7\n", ["x", "y"], XY),
    "decimal commas, tabs": ("x\ty\n1,5\t2\n3,5\t4\n5,25\t7\n", ["x", "y"], XY),
    "decimal commas, spaces": ("x y\n1,5 2\n3,5 4\n5,25 7\n", ["x", "y"], XY),
    "decimal commas, no header": ("1,5;2\n3,5;4\n5,25;7\n", ["column 1", "column 2"], XY),
    "tab": ("x\ty\n1.5\t2\n3.5\t4\n5.25\t7\n", ["x", "y"], XY),
    "bar": ("x|y\n1.5|2\n3.5|4\n5.25|7\n", ["x", "y"], XY),
    "spaces": ("  x    y\n1.5   2 \n3.5   4\n5.25  7\n", ["x", "y"], XY),
    "spaces and tabs": ("x y\n1.5 \t 2\n3.5\t4\n5.25  7\n", ["x", "y"], XY),
    "spaces after commas": ("x, y\n1.5, 2\n3.5, 4\n5.25, 7\n", ["x", "y"], XY),
    "spaces around commas": ("x , y\n1.5 , 2\n3.5 , 4\n5.25 , 7\n", ["x", "y"], XY),
    "quoted numbers": ('"x","y"\n"1.5","2"\n"3.5","4"\n"5.25","7"\n', ["x", "y"], XY),
    "separator in the header": ('"x, in m","y"\n1.5,2\n3.5,4\n5.25,7\n', ["x, in m", "y"], XY),
    "line end in the header": ('"x\nin m","y"\n1.5,2\n3.5,4\n5.25,7\n', ["x in m", "y"], XY),
    "blank lines": ("\n\nx,y\n\n1.5,2\n   \n3.5,4\n5.25,7\n\n\n", ["x", "y"], XY),
    "comments above": ("# by a machine\n# in 2024\nx,y\n1.5,2\n3.5,4\n5.25,7\n", ["x", "y"], XY),
    "header in a comment": ("# x y\n1.5 2\n3.5 4\n5.25 7\n", ["x", "y"], XY),
    "sep=": ("sep=;\nx;y\n1,5;2\n3,5;4\n5,25;7\n", ["x", "y"], XY),
    "R's write.table": ('"x" "y"\n"1" 1.5 2\n"2" 3.5 4\n"3" 5.25 7\n', ["column 1", "x", "y"], [[1, 2, 3], *XY]),
    "R's write.csv": ('"","x","y"\n"1",1.5,2\n"2",3.5,4\n"3",5.25,7\n', ["column 1", "x", "y"], [[1, 2, 3], *XY]),
    "separator at the end": ("x,y,\n1.5,2,\n3.5,4,\n5.25,7,\n", ["x", "y", "column 3"], [*XY, [NAN] * 3]),
    "separator at the end of data": ("x,y\n1.5,2,\n3.5,4,\n5.25,7,\n", ["x", "y", "column 3"], [*XY, [NAN] * 3]),
    "years as names": ("id,2019,2020\n1,1.5,2\n2,3.5,4\n3,5.25,7\n", ["id", "2019", "2020"], [[1, 2, 3], *XY]),
    "the same name twice": ("x,x\n1.5,2\n3.5,4\n5.25,7\n", ["x column 1", "x column 2"], XY),
    "one column": ("waiting time\n79\n54\n74\n", ["waiting time"], [[79, 54, 74]]),
    "one column, no header": ("79\n54\n74\n", ["column 1"], [[79, 54, 74]]),
    "one column with points": ("79.5\n54.25\n74\n", ["column 1"], [[79.5, 54.25, 74]]),
    "numbers of all kinds": ("x,y\n1e3,-.5\n+2E-1,3.\n-0,007\n", ["x", "y"], [[1000, 0.2, 0], [-0.5, 3, 7]]),
    "missing of all kinds": ("x,y\n1,\n2,NA\n3,nan\n4,NULL\n5,?\n6,inf\n7,-Infinity\n8,1e999\n9,N/A\n10, \n11,5\n",
                             ["x", "y"], [np.arange(1, 12), [NAN] * 10 + [5]]),
    "missing at the start": ("x;y\n;1\n;2\n3;\n", ["x", "y"], [[NAN, NAN, 3], [1, 2, NAN]]),
    "empty cells between tabs": ("x\ty\tz\n1\t\t3\n4\t5\t\n", ["x", "y", "z"], [[1, 4], [NAN, 5], [3, NAN]]),
}


@pytest.mark.parametrize("content, names, columns", READ.values(), ids=READ.keys())
def test_reads(content, names, columns):
    table = read_table(write(content))
    assert table.names == names
    for found, expected in zip(table.columns, columns, strict=True):
        np.testing.assert_array_equal(found, expected)


TEXT = {
    "text among numbers": ("name,x,city\nAnn,1,\"Oslo, Norway\"\nBob,2,Rome\n", ["name", "city"], "'Ann' in line 2"),
    "no header": ("setosa,5.1,3.5\nsetosa,4.9,3\nvirginica,6.3,3.3\n", ["column 1"], "'setosa' in line 1"),
    "one bad cell": ("x,y\n1,2\n3,oops\n5,6\n", ["y"], "'oops' in line 3"),
    "dates and times": ("when,x\n2024-01-31 12:00:00,1.5\n2024-02-01 12:00:00,2.5\n", ["when"], "line 2"),
    "underscores": ("code,x\n12_34,1.5\n12_35,2.5\n", ["code"], "'12_34'"),
    "thousands with points": ("x;y\n0,5;1.234\n1,5;2.345,5\n2,5;3\n", ["y"], "line 2"),
    "quotes in quotes": ('x,remark\n1,"a ""b"", c\nd"\n2,"e"\n', ["remark"], "line 2"),
    "currency": ("x,price\n1,$5\n2,$6\n", ["price"], "'$5'"),
}


@pytest.mark.parametrize("content, text_columns, where", TEXT.values(), ids=TEXT.keys())
def test_text_columns_are_named(content, text_columns, where):
    table = read_table(write(content))
    texts = {name: column for name, column in zip(table.names, table.columns) if isinstance(column, str)}
    assert list(texts) == text_columns
    assert where in texts[text_columns[0]]


def test_line_numbers_count_everything():
    table = read_table(write('# comment\n\nx,remark,y\n1,"a\nb",2\n\n2,c,\n3,d,5\n4,e,6\n'))
    assert table.lines.tolist() == [4, 7, 8, 9]
    assert pick_columns(table).lines[~pick_columns(table).used].tolist() == [7]


def test_blocks_do_not_show():
    """More rows than a block, and the first text far down."""
    n = 10_000
    lines = [f"{i * 0.5},{'NA' if i == 9000 else i % 7},{i if i < 9500 else 'x'}" for i in range(n)]
    table = read_table(write("a,b,c\n" + "\n".join(lines)))
    np.testing.assert_array_equal(table.columns[0], np.arange(n) * 0.5)
    assert np.flatnonzero(np.isnan(table.columns[1])).tolist() == [9000]
    assert table.columns[2] == "text, first 'x' in line 9502"


# --- files and options that are refused, in one line

REFUSED = {
    "empty": (b"", "the file is empty"),
    "blank lines only": ("\n\n  \n", "the file has no rows"),
    "byte order mark only": (b"\xef\xbb\xbf", "the file is empty"),
    "header only": ("x,y\n", "no rows below the header"),
    "comments only": ("# a\n# b\n", "the file has no rows"),
    "picture": (PNG + b"\x00\x00\x00\rIHDR", "not a text file"),
    "compressed": (b"\x1f\x8b\x08\x00abc", "not a text file"),
    "spreadsheet": (b"PK\x03\x04\x14\x00\x06\x00", "not a text file"),
    "text only": ("name,city\nAnn,Oslo\nBob,Rome\n", "no column of numbers"),
    "prose": ("It was a dark and stormy night.\nThe rain fell, in torrents.\n", "no column of numbers|rows must have"),
    "ragged": ("x,y\n1,2\n3\n4,5\n6,7\n8,9,10\n", "line 3 has 1, line 6 has 3"),
    "very ragged": ("x,y\n" + "1,2\n" * 50 + "1\n" * 10, "(10 such rows)"),
    "title above the header": ("My geyser\nx,y\n1,2\n3,4\n", "'My geyser'"),
    "open quote": ('x,remark\n1,"a"\n2,"b\n3,c\n4,d\n', "line 3"),
    "endless open quote": ('x,y\n1,2\n"' + "3,4\n" * 50_000, "line 3"),
    "constant": ("x,y\n1,2\n1,2\n1,2\n", "constant"),
    "one row": ("x,y\n1,2\n", "constant"),
    "one complete row": ("x,y\n1.5,2\n2.5,\n,3\n,5\n3,\n", "no column of numbers|at least 2 complete rows"),
    "all missing": ("x,y\nNA,1\nNA,1\n", "2 of 2 values missing"),
    "too few rows": ("x,y\n1.5,2\n3.5,9\n", "3 components need at least 3 complete rows, but there are 2"),
    "beyond all measure": ("x\n1e200\n2e200\n", "beyond 1e100"),
    "UTF-16 without its end": (b"\xff\xfex\x00,\x00y", "no rows|text|numbers"),
}


@pytest.mark.parametrize("content, message", REFUSED.values(), ids=REFUSED.keys())
def test_refuses_files(capsys, content, message):
    status, out, err = call(capsys, write(content), "--components", "3")
    assert status == 2 and out == ""
    assert err.startswith("gmm_lit: ") and err.count("\n") == 1 and "Traceback" not in err
    assert any(part in err for part in message.split("|")), err
    assert os.listdir() == ["data.csv"]


OPTIONS = {
    "no such file": (["nothing.csv"], "nothing.csv: No such file"),
    "a folder": (["."], "folder"),
    "two files": (["geyser.csv", "geyser.csv"], "unrecognized arguments"),
    "unknown option": (["geyser.csv", "--fast"], "--fast"),
    "no components": (["geyser.csv", "--components", "0-3"], "--components"),
    "falling range": (["geyser.csv", "--components", "5-2"], "'5-2'"),
    "words for components": (["geyser.csv", "--components", "few"], "'few'"),
    "far too many": (["geyser.csv", "--components", "1-100000"], "--components"),
    "unknown covariance": (["geyser.csv", "--covariance", "round"], "full"),
    "unknown criterion": (["geyser.csv", "--criterion", "luck"], "bic"),
    "negative seed": (["geyser.csv", "--seed=-1"], "--seed"),
    "unknown column": (["geyser.csv", "--columns", "eruption,height"], "'height'"),
    "picture of unknown kind": (["geyser.csv", "--picture", "out.doc"], ".png"),
    "picture without extension": (["geyser.csv", "--picture", "out"], "--picture"),
    "picture in no folder": (["geyser.csv", "--picture", "no/out.png"], "folder"),
    "picture on a folder": (["geyser.csv", "--picture", "folder.png"], "folder"),
    "labels in no folder": (["geyser.csv", "--labels", "no/out.csv"], "folder"),
    "labels over the input": (["geyser.csv", "--labels", "./geyser.csv"], "different files"),
    "labels over a link to it": (["geyser.csv", "--labels", "link.csv"], "different files"),
    "labels over the picture": (["geyser.csv", "--labels", "a.svg", "--picture", "a.svg"], "different files"),
}


@pytest.mark.parametrize("words, message", OPTIONS.values(), ids=OPTIONS.keys())
def test_refuses_options(capsys, geyser, words, message):
    os.mkdir("folder.png")
    os.symlink("geyser.csv", "link.csv")
    before = open(geyser).read(), sorted(os.listdir())
    status, out, err = call(capsys, *words)
    assert status == 2 and out == ""
    assert err.startswith("gmm_lit: ") and err.count("\n") == 1 and message in err
    assert (open(geyser).read(), sorted(os.listdir())) == before


# --- columns and rows

@pytest.mark.thorough
def test_columns_left_out_are_named(capsys):
    rows = [f"{i},{v},7,{'x' if i else 'y'},{v * 2 if i % 3 == 0 else ''},{v * v}" for i, v in enumerate(load_faithful().data[:40, 1])]
    write("id,waiting,seven,name,rare,square\n" + "\n".join(rows))
    status, out, _ = call(capsys, "data.csv", *QUICK)
    assert status == 0 and "40 rows of waiting, square" in out
    for line in ("id (counts the rows)", "seven (constant)", "name (text, first 'y' in line 2)", "rare (26 of 40 values missing)"):
        assert f"column left out: {line}" in out
    status, out, _ = call(capsys, "data.csv", *QUICK, "--columns", "waiting, rare")
    assert status == 2
    status, out, _ = call(capsys, "data.csv", *QUICK, "--columns", "waiting")
    assert status == 0 and "40 rows of waiting\n" in out and "square (not asked for)" in out


def test_constant_in_the_complete_rows():
    table = read_table(write("x,y,z\n1,5,1.5\n2,5,\n4,6,\n3,5,2.5\n5,5,3.5\n"))
    data = pick_columns(table)
    assert data.names == ["x", "z"] and data.left_out == {"y": "constant in the complete rows"}
    assert data.used.tolist() == [True, False, False, True, True]


def test_a_lone_counter_is_kept():
    assert pick_columns(read_table(write("x\n1\n2\n3\n"))).names == ["x"]
    assert pick_columns(read_table(write("x,y\n2019,1.5\n2020,2.5\n2021,2\n"))).names == ["x", "y"]


# --- the report, the labels, the picture

def test_report(capsys, geyser):
    status, out, err = call(capsys, geyser, *QUICK)
    assert status == 0 and err == ""
    for part in ("comma between cells, a header", "91 rows of eruption, waiting", "BIC", "Best: ", "The next best",
                 "A single Gaussian", "promises", "Weights and means", "Covariance of", "Picture: geyser_gmm.png"):
        assert part in out
    assert out.count("*") == 2                                # the winner, and what a star means


def test_missing_rows_are_counted_and_named(capsys):
    lines = [f"{x:g},{y:g}" for x, y in load_faithful().data[:60]]
    for row, gap in ((1, ",54"), (3, "2.2,NA"), (20, "?,?"), (30, "nan,60"), (31, "3,null"), (40, "inf,70")):
        lines[row] = gap
    write("eruption,waiting\n" + "\n".join(lines))
    _, out, _ = call(capsys, "data.csv", *QUICK)
    assert "54 rows of" in out and "rows left out: 6, with missing values (in the file, line 3, 5, 22, 32, 33, ...)" in out


@pytest.mark.thorough
def test_seed_repeats(capsys, geyser):
    answers = [call(capsys, geyser, *QUICK, "--seed", seed, "--json")[1] for seed in (3, 3)]
    first, again = (json.loads(answer)["best"] for answer in answers)
    assert first | {"seconds": 0} == again | {"seconds": 0}


@pytest.mark.parametrize("criterion", ["aic", "BIC", "icl"])
def test_criterion(capsys, geyser, criterion):
    status, out, _ = call(capsys, geyser, *QUICK, "--criterion", criterion, "--json")
    said = json.loads(out)
    name = criterion.lower()
    assert status == 0 and said["criterion"] == name
    assert said["best"][name] == min(row[name] for row in said["results"] if not row["collapsed"])


@pytest.mark.parametrize("text, sizes", [("3", {3}), ("1-3", {1, 2, 3}), ("2,4", {2, 4}), ("1,3-4", {1, 3, 4})])
@pytest.mark.thorough
def test_components(capsys, geyser, text, sizes):
    said = json.loads(call(capsys, geyser, "--components", text, "--covariance", "tied", "--json")[1])
    assert {row["n_components"] for row in said["results"]} == sizes


@pytest.mark.thorough
def test_covariance_names(capsys, geyser):
    types = lambda *words: [row["covariance_type"] for row in
                            json.loads(call(capsys, geyser, "--components", "1", *words, "--json")[1])["results"]]
    assert types("--covariance", "tied, full") == ["tied", "full"]
    assert types("--covariance", "all") == types() == list(command_line.STRUCTURES)


def test_json_is_one_object_and_nothing_else(capsys, geyser):
    status, out, err = call(capsys, geyser, *QUICK, "--json", "--labels", "labels.csv", "--picture", "out.png")
    strict = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert status == 0 and err == ""
    assert strict["picture"] == "out.png" and strict["labels"] == "labels.csv" and strict["gmm_lit"] == gmm_lit.__version__
    assert strict["data"]["rows"] == strict["data"]["rows_used"] == 91 and strict["data"]["columns"] == ["eruption", "waiting"]
    best = strict["best"]
    K = best["n_components"]
    assert np.shape(best["weights"]) == (K,) and np.shape(best["means"]) == (K, 2) and np.shape(best["covariances"]) == (K, 2, 2)
    assert len(strict["results"]) == 6 and abs(sum(best["weights"]) - 1) < 1e-9
    text = call(capsys, geyser, *QUICK)[1]
    assert f"{best['bic']:.2f}*" in text and all(sentence[:60] in text for sentence in strict["reasons"])


def test_json_holds_failures_as_null():
    assert command_line.plain({"a": np.nan, "b": np.array([1.0, np.inf]), "c": np.int64(3), "d": (np.True_, None)}) \
        == {"a": None, "b": [1.0, None], "c": 3, "d": [True, None]}


@pytest.mark.thorough
def test_labels_agree_with_predict_proba(capsys):
    X = load_iris().data[::2]
    lines = [",".join(map(str, row)) for row in X]
    lines[5], lines[50] = "5.4,NA,1.7,0.4", ",,,"
    write("a,b,c,d\n" + "\n".join(lines[:20]) + "\n\n" + "\n".join(lines[20:]))      # a blank line counts for nothing
    status, out, _ = call(capsys, "data.csv", *QUICK, "--labels", "labels.csv", "--json")
    assert status == 0
    head, *rows = csv.reader(open("labels.csv"))
    K = json.loads(out)["best"]["n_components"]
    assert head == ["row", "label", *(f"probability_{k}" for k in range(K))]
    assert [int(row[0]) for row in rows] == list(range(75)) and {len(row) for row in rows} == {2 + K}
    assert [int(row[0]) for row in rows if row[1] == ""] == [5, 50]
    assert all(cell == "" for row in (rows[5], rows[50]) for cell in row[1:])
    kept = np.delete(X, [5, 50], axis=0)
    search = command_line.search_models(kept, [1, 2, 3], ["tied", "diag"])
    numbers = np.array([row for row in rows if row[1]], float)
    np.testing.assert_array_equal(numbers[:, 1], search.best_estimator_.predict(kept))
    np.testing.assert_allclose(numbers[:, 2:], search.best_estimator_.predict_proba(kept), rtol=1e-5, atol=1e-300)


@pytest.mark.parametrize("d", [1, 2, 4, 9])
@pytest.mark.thorough
def test_picture_for_any_number_of_columns(capsys, d):
    rng = np.random.default_rng(d)
    X = np.concatenate([rng.normal(size=(30, d)), rng.normal(size=(30, d)) + 6])
    names = [f"cost of thing {i} in a currency ($)" for i in range(d)]
    np.savetxt("data.csv", X, delimiter=",", header=",".join(names), comments="")
    status, out, err = call(capsys, "data.csv", "--components", "2", "--covariance", "tied")
    assert status == 0 and err == "" and "Picture: data_gmm.png" in out
    image = open("data_gmm.png", "rb").read()
    width, height = (int.from_bytes(image[i:i + 4], "big") for i in (16, 20))
    assert image[:8] == PNG and len(image) > 10_000 and 500 < width < 3000 and 400 < height < 3000


@pytest.mark.thorough
def test_other_kinds_of_pictures(capsys, geyser):
    for name, start in (("out.svg", b"<?xml"), ("out.PDF", b"%PDF")):
        assert call(capsys, geyser, "--components", "1", "--covariance", "tied", "--picture", name)[0] == 0
        assert open(name, "rb").read().startswith(start)


def test_many_rows_are_sampled_for_the_picture(monkeypatch):
    seen = []
    monkeypatch.setattr(command_line, "plot_mixture", lambda X, *rest: seen.append(len(X)))
    model = command_line.search_models(load_faithful().data, [1], ["full"]).best_estimator_
    command_line.draw("a.png", np.zeros((50_000, 2)), model, ["x", "y"], "title")
    assert seen == [20_000]


def test_nothing_half_written(monkeypatch, capsys, geyser):
    write("before", "labels.csv")
    monkeypatch.setattr(command_line, "_label", lambda resp: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    status, out, err = call(capsys, geyser, *QUICK, "--labels", "labels.csv")
    assert status == 2 and "No space left" in err and err.count("\n") == 1
    assert open("labels.csv").read() == "before" and sorted(os.listdir()) == ["geyser.csv", "labels.csv"]


def test_a_failing_picture_leaves_none(monkeypatch, capsys, geyser):
    monkeypatch.setattr(command_line, "plot_mixture", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    status, out, err = call(capsys, geyser, *QUICK)
    assert (status, out, err) == (130, "", "gmm_lit: interrupted\n")
    assert os.listdir() == ["geyser.csv"]


def test_devices_are_not_replaced(capsys, geyser):
    if not os.path.exists("/dev/null"): pytest.skip("no /dev/null here")
    assert call(capsys, geyser, *QUICK, "--labels", os.devnull)[0] == 0
    assert not os.path.isfile(os.devnull)


# --- what it is careful about

@pytest.mark.thorough
def test_any_unit(capsys):
    """The same rows in metres, micrometres and light years: the same winner, the same labels."""
    labels = []
    for scale in (1, 1e-9, 1e9):
        np.savetxt("data.csv", load_faithful().data * scale, delimiter=",")
        assert call(capsys, "data.csv", "--components", "1-3", "--covariance", "tied", "--labels", "labels.csv")[0] == 0
        labels.append([row[1] for row in csv.reader(open("labels.csv"))])
    assert labels[0] == labels[1] == labels[2] and len(set(labels[0])) == 4


def test_collapsed_models_do_not_win(capsys):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 3, 120), rng.normal(size=120)])
    np.savetxt("data.csv", X, delimiter=",", fmt="%.3f")
    status, out, _ = call(capsys, "data.csv", "--components", "1-4", "--covariance", "diag", "--json")
    said = json.loads(out)
    assert status == 0 and said["best"]["collapsed"] == [] and said["cautions"][0].startswith("Passed over")


@pytest.mark.thorough
def test_columns_that_repeat_each_other(capsys):
    x = np.random.default_rng(0).normal(size=60)
    np.savetxt("data.csv", np.column_stack([x, 2 * x]), delimiter=",")
    status, out, err = call(capsys, "data.csv", "--components", "1-2", "--covariance", "all")
    assert status in (0, 2) and "Traceback" not in err and err.count("\n") <= 1


@pytest.mark.thorough
def test_more_components_than_rows(capsys):
    write("x,y\n1,2\n2,9\n4,1\n7,3\n5,5\n")
    status, out, err = call(capsys, "data.csv", "--covariance", "spherical")
    assert status == 0 and "There are only 5 complete rows, so 6, 7, 8, 9 components were not tried" in " ".join(out.split())


def test_the_edge_of_what_was_tried(capsys, geyser):
    out = call(capsys, geyser, "--components", "1-2", "--covariance", "tied")[1]
    assert "--components 1-4" in " ".join(out.split())


# --- the command itself

@pytest.mark.thorough
def test_the_demonstration(capsys):
    asked = command_line.make_parser().parse_args([])
    assert asked.components == list(range(1, 10)) and asked.covariance == list(command_line.STRUCTURES)
    status, out, err = call(capsys, "--components", "1-4")    # up to 9 in the notebook
    assert status == 0 and err == "" and open("gmm_lit_demo.png", "rb").read(8) == PNG
    assert "Old Faithful" in out and "2314.30*" in out and "Best: 3 components, tied" in out
    assert "eruption (min)" in out and out.rstrip().endswith("Picture: gmm_lit_demo.png")


def test_help_and_version(capsys):
    status, out, err = call(capsys, "--help")
    assert status == 0 and "example:" in out and err == ""
    for option in ("--components", "--covariance", "--criterion", "--seed", "--labels", "--picture", "--json", "--version"):
        assert option in out
    assert call(capsys, "--version") == (0, f"gmm_lit {gmm_lit.__version__}\n", "")


def test_interrupted_while_fitting(monkeypatch, capsys, geyser):
    monkeypatch.setattr(command_line.GaussianMixtureSearch, "fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert call(capsys, geyser) == (130, "", "gmm_lit: interrupted\n")


@pytest.mark.thorough
def test_in_a_process_of_its_own(geyser):
    """The module runs; its exit status arrives; names that the terminal cannot print do no harm."""
    write("größe,y\n1,2\n2,9\n4,1\n7,3\n")
    command = ["-m", "gmm_lit", "data.csv", "--components", "1", "--covariance", "diag"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, *command], capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0 and b"gr\\xf6\\xdfe" in done.stdout and done.stderr == b""
    done = python("-m", "gmm_lit", "nothing.csv")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "gmm_lit: nothing.csv: No such file or directory\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes end differently there")
@pytest.mark.thorough
def test_a_reader_that_goes_away(geyser):
    read, write_end = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "gmm_lit", geyser, "--components", "1", "--covariance", "tied"]
    done = subprocess.run(words, stdout=write_end, stderr=subprocess.PIPE, timeout=120)
    os.close(write_end)
    assert done.returncode == 141 and done.stderr == b"" and os.path.exists("geyser_gmm.png")


def test_importing_is_light():
    done = python("-c", "import sys, gmm_lit.command_line; print('matplotlib' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


@pytest.mark.thorough
def test_no_window_is_looked_for(geyser):
    """Without pyplot; also where the environment asks for a screen that is not there."""
    program = ("import sys; from gmm_lit.command_line import main; "
               f"main(['{geyser}', '--components', '1', '--covariance', 'tied']); print('matplotlib.pyplot' in sys.modules)")
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"MPLBACKEND": "TkAgg"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0 and done.stdout.endswith("False\n"), done.stderr


@pytest.mark.thorough
def test_pipes_can_be_read(geyser):
    if not os.path.exists("/dev/stdin"): pytest.skip("no /dev/stdin here")
    words = [sys.executable, "-m", "gmm_lit", "/dev/stdin", "--components", "1", "--covariance", "tied"]
    done = subprocess.run(words, input=open(geyser).read(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "91 rows" in done.stdout, done.stderr


def test_the_demo_data_is_a_whole_table():
    data = command_line.demo_data()
    assert isinstance(data, Data) and data.X.shape == (272, 2) and data.used.all() and len(data.lines) == 272
