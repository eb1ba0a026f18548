"""Saved mixtures: the same to the last bit, whole or not there, and nothing but one clear error from a bad file."""

import copy
import hashlib
import io
import json
import os
import pickle
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import gmm_lit.persistence
from gmm_lit import ConvergenceWarning, FileFormatError, GaussianMixture, load
from gmm_lit.covariances import STRUCTURES
from gmm_lit.datasets import load_iris
from gmm_lit.persistence import SEAL, describe, encode_file, from_sklearn, save, to_sklearn
from gmm_lit.priors import Prior

X, Y = load_iris().data, load_iris().target
METHODS = ("predict", "predict_proba", "score_samples")


def fitted(X=X, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(**{"n_components": 3, "random_state": 0} | options).fit(X)


def same(a, b):
    if isinstance(a, np.ndarray):
        layout = [[stride for stride, length in zip(array.strides, array.shape) if length > 1] for array in (a, b)]
        return a.dtype == b.dtype and layout[0] == layout[1] and np.array_equal(a, b)
    if isinstance(a, np.random.Generator):
        return a.bit_generator.state == b.bit_generator.state
    if isinstance(a, (list, tuple)) and not isinstance(b, np.ndarray):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b) and (type(a) is type(b) or isinstance(a, (np.generic, list)))


def assert_same(a, b):
    assert vars(a).keys() == vars(b).keys()
    for name in vars(a):
        assert same(vars(a)[name], vars(b)[name]), name


def sealed(data):
    """The bytes of a zip file with a right seal, whatever else is wrong with them."""
    return data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode()


@pytest.mark.parametrize("covariance_type", [*STRUCTURES, "VVV", "EEE", "VVI", "VII"])
def test_every_structure_comes_back_to_the_last_bit(tmp_path, covariance_type):
    gm = fitted(covariance_type=covariance_type)
    gm.save(tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz")
    assert_same(gm, loaded)
    for method in METHODS:
        assert np.array_equal(getattr(gm, method)(X), getattr(loaded, method)(X))
    assert np.array_equal(gm.sample(50)[0], loaded.sample(50)[0]) and loaded.bic(X) == gm.bic(X)
    assert np.array_equal(gm.full_covariances(), loaded.full_covariances())


@pytest.mark.parametrize("options", [
    dict(random_state=np.random.default_rng(4)), dict(random_state=None), dict(random_state=np.uint64(2 ** 63)),
    dict(random_state=10 ** 30), dict(init_params=Y), dict(init_params=Y.astype("i1")), dict(init_params=np.array(["c", "a", "b"])[Y]),
    dict(init_params=list(Y)), dict(init_params=np.eye(3)[Y]), dict(init_params=np.eye(3, dtype=np.float32)[Y]),
    dict(init_params=Y.astype(np.longdouble)), dict(init_params=Y.astype(">i4")), dict(n_components=2, init_params=Y > 0),
    dict(prior="default"), dict(prior=Prior(X.mean(0), np.cov(X.T), 8)), dict(prior=Prior(list(X.mean(0)), 1, 8, 0)), dict(accelerate="squarem"),
    dict(means_init=X[[0, 60, 120]].tolist(), weights_init=(0.5, 0.25, 0.25), precisions_init=np.array([np.eye(4)] * 3)),
    dict(covariance_type="EII", precisions_init=3.0), dict(update="w", means_init=X[:3], precisions_init=[np.eye(4) / 7 + 0.1] * 3), dict(update="mc"), dict(tol=np.float64(0.5), max_iter=np.int64(7), warm_start=np.bool_(True)),
    dict(max_iter=0), dict(verbose=False, n_jobs=2, n_init=3)], ids=lambda options: "-".join(options))
@pytest.mark.thorough
def test_every_kind_of_option_comes_back(tmp_path, options):
    gm = fitted(**options)
    save(gm, tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz")
    for name, value in vars(gm).items():
        if name.endswith("_") or isinstance(value, np.random.Generator):
            assert same(value, vars(loaded)[name]), name
        elif not isinstance(value, Prior):
            assert np.array_equal(value, vars(loaded)[name]), name
    generator = copy.deepcopy(gm.random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if options.get("random_state", 0) is not None:
            assert np.array_equal(loaded.fit(X).means_, gm.set_params(random_state=generator).fit(X).means_)


def test_unfitted_one_feature_one_component(tmp_path):
    path = tmp_path / "m.npz"
    for gm in (GaussianMixture(), GaussianMixture(5, covariance_type="tied", tol=1e-9), fitted(X[:, :1], covariance_type="V"),
               fitted(X[:, :1], covariance_type="E"), fitted(n_components=1), fitted(X * 1e60, reg_covar=0), fitted(X * 1e-100, reg_covar=0)):
        gm.save(path)
        assert_same(gm, load(path))
    changed = fitted().set_params(covariance_type="diag", n_components=7)           # a fit stays what it was
    changed.save(path)
    assert np.array_equal(load(path).predict(X), changed.predict(X)) and load(path).covariance_type == "diag"
    watched = GaussianMixture(2, callback=print)
    watched.save(path)
    assert load(path).callback is None


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VVE", "EEI"])
@pytest.mark.thorough
def test_float32_and_the_edge_of_what_can_be_inverted(tmp_path, covariance_type):
    path, rng = tmp_path / "m.npz", np.random.default_rng(0)
    line = np.repeat(rng.normal(size=(200, 1)), 3, axis=1) * [1, 10, 100] + rng.normal(size=(200, 3)) * 1e-3
    for rows in (X.astype(np.float32), line.astype(np.float32), line, line + 1e6):
        for reg_covar in (1e-6, 1e-9):
            gm = fitted(rows, covariance_type=covariance_type, reg_covar=reg_covar)
            gm.save(path)
            assert_same(gm, load(path))
            assert np.array_equal(load(path).predict_proba(rows), gm.predict_proba(rows))


def test_by_hand_and_feature_names(tmp_path):
    gm, source = GaussianMixture(3), fitted()
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(gm, name, getattr(source, name))
    gm.feature_names_in_ = np.array(["länge", "\ud800", "", "a" * 1000], dtype=object)
    gm.save(tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz")
    with pytest.warns(UserWarning, match="feature names"):
        assert np.array_equal(loaded.predict(X), source.predict(X))
    assert list(loaded.feature_names_in_) == list(gm.feature_names_in_)
    assert not hasattr(loaded, "converged_")


@pytest.mark.parametrize("options, name", [
    (dict(init_params=lambda X, n_components, random_state: Y), "init_params"), (dict(random_state=np.random.RandomState(0)), "random_state"),
    (dict(random_state=np.random.Generator(np.random.MT19937(0))), "random_state"), (dict(init_params=[object()]), "init_params")])
def test_what_cannot_be_saved_is_said_and_leaves_the_file(tmp_path, options, name):
    path = tmp_path / "m.npz"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match=f"^{name} cannot be saved"):
        GaussianMixture(3, **options).save(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["m.npz"]


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    for change in (dict(weights_=np.array([0.5, 0.5, 0.1])), dict(means_=np.full((3, 4), np.nan)), dict(tol=-1.0), dict(n_iter_=-1),
                   dict(covariances_=np.zeros((3, 4, 4))), dict(covariance_type="round"), dict(weights_init=[0.5, np.inf, 1])):
        gm = fitted()
        vars(gm).update(change)
        with pytest.raises(ValueError):
            gm.save(tmp_path / "m.npz")
    class Mine(GaussianMixture): pass
    with pytest.raises(TypeError, match="Mine"):
        Mine().save(tmp_path / "m.npz")
    assert not os.listdir(tmp_path)


def test_places(tmp_path):
    gm = GaussianMixture(2)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError):
        gm.save(tmp_path / "nowhere" / "m.npz")
    with pytest.raises((IsADirectoryError, PermissionError)):
        load(tmp_path)
    with pytest.raises(ValueError, match="not a file"):
        gm.save(tmp_path)
    with pytest.raises(TypeError):
        gm.save(None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="not a file"):                        # at once: nobody will ever write to it
        load(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        gm.save(tmp_path / "pipe")
    with pytest.raises(FileFormatError):
        load(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_links_and_modes_are_kept(tmp_path, monkeypatch):
    gm, path = GaussianMixture(2), tmp_path / "m.npz"
    gm.save(path)
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    (tmp_path / "link").symlink_to("m.npz")
    GaussianMixture(4).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and load(path).n_components == 4 and stat.S_IMODE(path.stat().st_mode) == 0o640
    monkeypatch.chdir(tmp_path)
    gm.save("m.npz")
    gm.save(b"m.npz")
    assert sorted(os.listdir()) == ["link", "m.npz", "plain"] and load(b"m.npz").n_components == 2


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    GaussianMixture(2).save(path)
    for name in ("fsync", "replace"):
        def fail(*args): raise OSError("disk full")
        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            with pytest.raises(OSError, match="disk full"):
                GaussianMixture(3).save(path)
        assert load(path).n_components == 2 and os.listdir(tmp_path) == ["m.npz"]


def test_the_same_model_makes_the_same_file_and_anybody_can_read_it(tmp_path):
    gm = fitted()
    gm.save(tmp_path / "a.npz")
    load(tmp_path / "a.npz").save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["precisions_cholesky_"], gm.precisions_cholesky_)
        header = json.loads(archive["header.json"])
    assert (header["format"], header["version"], header["options"]["n_components"]) == ("gmm_lit", 1, 3)
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


# ---- files that are wrong

class Bomb:
    def __reduce__(self): return os.mkdir, ("exploded",)


def raw(members, comment=SEAL + b"0" * 64, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                       # a name that comes twice
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            archive.comment = comment
            for name, data in members:
                archive.writestr(name, data)
    return sealed(buffer.getvalue())


def members_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {member.filename: archive.read(member) for member in archive.infolist()}


def npy(array, version=(1, 0), **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), version=version, **options)
    return buffer.getvalue()


def header_says(shape, dtype="<f8", order=False):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": order, "shape": shape})
    return buffer.getvalue()


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def hostile():
    """Names and bytes of files, each with a right seal."""
    gm = fitted()
    facts, arrays = describe(gm)
    good = encode_file("mixture", facts, arrays)
    members, header = members_of(good), json.loads(members_of(good)["header.json"])

    def with_header(**changes): return raw((members | {"header.json": json.dumps(header | changes)}).items())
    def with_options(**changes): return with_header(options=header["options"] | changes)
    def with_fitted(**changes): return with_header(fitted=header["fitted"] | changes)
    def with_member(name, data): return raw((members | {name: data}).items())
    def with_array(name, array): return with_member(f"{name}_.npy", npy(array))
    def with_text(text): return with_member("header.json", text)
    text = members["header.json"]

    yield "pickle", pickle.dumps(Bomb())
    yield "pickle and a seal", sealed(pickle.dumps(Bomb()) + SEAL + b"0" * 64)
    yield "only a seal", sealed(SEAL + b"0" * 64)
    yield "empty archive", raw([])
    yield "text", b"weights,means\n0.5,1\n"
    yield "compressed", raw(members.items(), compression=zipfile.ZIP_DEFLATED)
    yield "zip bomb", raw((members | {"means_.npy": header_says((10 ** 7, 4)) + bytes(10 ** 7)}).items(), compression=zipfile.ZIP_DEFLATED)
    yield "lzma", raw(members.items(), compression=zipfile.ZIP_LZMA)
    yield "extra member", raw([*members.items(), ("more.npy", npy(np.zeros(3)))])
    yield "climbing member", raw([*members.items(), ("../../escaped.npy", npy(np.zeros(3)))])
    yield "absolute member", raw([*members.items(), ("/tmp/escaped.npy", npy(np.zeros(3)))])
    yield "link", raw([*((name, data) for name, data in members.items() if name != "means_.npy"), (link("means_.npy"), "/etc/passwd")])
    yield "extra link", raw([*members.items(), (link("passwd"), "/etc/passwd")])
    yield "folder", raw([*members.items(), ("folder/", b"")])
    yield "twice", raw([*members.items(), ("means_.npy", members["means_.npy"])])
    yield "many members", raw([*members.items(), *((f"{i}.npy", b"") for i in range(1000))])
    for name in members:
        yield f"without {name}", raw((n, data) for n, data in members.items() if n != name)
        yield f"empty {name}", with_member(name, b"")
        yield f"half {name}", with_member(name, members[name][:len(members[name]) // 2])
        yield f"long {name}", with_member(name, members[name] + b"12345678")
    for flag in (1, 8, 2048):
        data = bytearray(good)
        struct.pack_into("<H", data, data.rindex(b"PK\1\2") + 8, flag)
        yield f"flag {flag}", sealed(bytes(data))
    for place in (20, 24):                                    # sizes in the list of contents
        data = bytearray(good)
        struct.pack_into("<L", data, data.index(b"PK\1\2") + place, 2 ** 32 - 1)
        yield f"size at {place}", sealed(bytes(data))
    data = bytearray(good)
    struct.pack_into("<L", data, data.rindex(b"PK\1\2") + 42, 2 ** 31)
    yield "offset", sealed(bytes(data))
    data = bytearray(good)
    first = data.index(b"PK\1\2")
    struct.pack_into("<L", data, data.index(b"PK\1\2", first + 1) + 42, 0)
    yield "overlap", sealed(bytes(data))

    yield "pickled array", with_member("means_.npy", npy(np.array([[Bomb()]], dtype=object), allow_pickle=True))
    yield "object dtype", with_member("means_.npy", header_says((3, 4), "|O") + bytes(96))
    yield "npy version 2", with_member("means_.npy", npy(gm.means_, (2, 0)))
    yield "npy version 3", with_member("means_.npy", npy(gm.means_, (3, 0)))
    for shape in ((10 ** 18, 10 ** 18), (2 ** 63,), (-3, -4), (0, 10 ** 30), (True, 12), (3, 4, 1), (12,), ()):
        yield f"npy shape {shape}", with_member("means_.npy", header_says(shape) + bytes(96))
    for dtype in ("<f4", ">f8", "<f2", "<c16", "<U24", "|S8", "<M8[s]", "<m8[s]", "|V8", "<i8", [("a", "<f8")], [("a", "|O")]):
        yield f"npy dtype {dtype}", with_member("means_.npy", header_says((3, 4), dtype) + bytes(96))
    yield "Fortran order", with_member("means_.npy", npy(np.asfortranarray(gm.means_)))
    for words in (b"{'descr': __import__('os').mkdir('exploded'), 'fortran_order': False, 'shape': (3, 4)}", b"(" * 9000, b"[" * 9000 + b"]" * 900,
                  b"\xff\xfe" * 50, b"{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), 'more': 1}", b"{'shape': (3, 4)}", b"-" * 9000 + b"1"):
        yield f"npy header {words[:30]}", with_member("means_.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(words)) + words + bytes(96))

    yield "deep list", with_text(b"[" * 200_000)
    yield "deep dict", with_text(b'{"a":' * 200_000)
    yield "no JSON", with_text(b"\xff\xfe\0")
    yield "JSON list", with_text(b"[]")
    yield "JSON null", with_text(b"null")
    yield "long integer", with_text(text.replace(b'"max_iter": 100', b'"max_iter": 1' + b"0" * 5000))
    yield "huge integer", with_text(text.replace(b'"max_iter": 100', b'"max_iter": 1' + b"0" * 400))
    yield "huge float", with_text(text.replace(b'"tol": 0.001', b'"tol": 1e999'))
    yield "NaN", with_text(text.replace(b'"tol": 0.001', b'"tol": NaN'))
    yield "Infinity", with_text(text.replace(b'"tol": 0.001', b'"tol": Infinity'))
    yield "name twice", with_text(text.replace(b'"version": 1', b'"version": 1, "version": 1'))
    yield "big header", with_text(text + b" " * 10 ** 6)
    for name in header:
        yield f"header without {name}", with_text(json.dumps({n: v for n, v in header.items() if n != name}))
        for value in (None, [], {}, 7, "word", True):
            if value != header[name] and name != "written_by" and not (name == "fitted" and value is None) and (name, value) not in [("version", True), ("options", {})]:
                yield f"{name} is {value!r}", with_header(**{name: value})
    for version in (0, 2, 1.5, "1", -1, True, 10 ** 40):
        yield f"version {version!r}", with_header(version=version)
    yield "another kind", with_header(kind="checkpoint")
    yield "more in the header", with_header(code="import os")
    for order in ([0], [0, 0], [1, 2], "01", None, [0.0, 1.0], {"0": 1}, [[0], [1]], ["a", 1], [2 ** 70, 0]):
        yield f"order {order}", with_header(arrays=header["arrays"] | {"means_": order})

    for name in header["options"]:
        for value in ({}, {"a": 1, "b": 2}, {"array": name}, {"array": 3}, {"words": 3}, {"words": [1]}, {"words": [["a"]]}, {"prior": {}}, {"prior": 3}, {"generator": {}},
                      {"function": "os.system"}, [1, 2], [[]]):
            yield f"option {name} {value}", with_options(**{name: value})
    yield "long option", with_options(covariance_type="round\n\x1b[31m" * 10 ** 5)
    for name, value in [("n_components", 0), ("n_components", "3"), ("n_components", 2.0), ("tol", -1), ("tol", "a"), ("covariance_type", "round"),
                        ("covariance_type", 3), ("init_params", "os.system"), ("init_params", 3), ("random_state", -1), ("random_state", "a"),
                        ("random_state", 0.5), ("warm_start", 3), ("accelerate", "light"), ("prior", "mine"), ("n_jobs", 0), ("weights_init", True),
                        ("means_init", "a"), ("precisions_init", True), ("__class__", "os"), ("self", 1), ("nothing", None)]:
        yield f"option {name} = {value!r}", with_options(**{name: value})
    state = np.random.default_rng(0).bit_generator.state
    for change in (dict(bit_generator="MT19937"), dict(bit_generator=3), dict(has_uint32=2), dict(has_uint32="a"), dict(uinteger=2 ** 32), dict(state={}),
                   dict(state={"state": -1, "inc": 1}), dict(state={"state": 2 ** 128, "inc": 1}), dict(state={"state": 1.5, "inc": 1}), dict(state=None)):
        yield f"generator {change}", with_options(random_state={"generator": state | change})
    mt = json.loads(json.dumps(np.random.MT19937(0).state, default=np.ndarray.tolist))
    mt["state"]["pos"] = 10 ** 8
    yield "generator out of bounds", with_options(random_state={"generator": mt})
    prior = {"mean": [0, 0], "scale": 1.0, "dof": 3.0, "shrinkage": 0.1}
    for value in (prior, {"mean": {"array": "prior.mean"}}, {"mean": {"words": ["a"]}, "scale": 1.0, "dof": 3.0}, {"mean": None, "scale": None, "dof": 1}):
        yield f"prior {value}", with_options(prior={"prior": value})

    eye = np.eye(4)
    for name, array in [
            ("weights", [0.5, 0.5, 0.5]), ("weights", [1.5, -0.25, -0.25]), ("weights", [np.nan, 0.5, 0.5]), ("weights", [0.0, 0, 0]), ("weights", [0.5, 0.5]),
            ("weights", [[0.2, 0.3, 0.5]]), ("weights", np.float32([0.25, 0.25, 0.5])), ("weights", [1, 0, 0]), ("weights", [True, False, False]), ("weights", []),
            ("means", np.full((3, 4), np.nan)), ("means", np.full((3, 4), 1e200)), ("means", gm.means_[:2]), ("means", gm.means_[:, :3]), ("means", gm.means_[0]),
            ("means", np.zeros((0, 4))), ("means", np.zeros((3, 0))), ("means", gm.means_[None]), ("means", gm.means_.astype(np.float32)),
            ("covariances", -gm.covariances_), ("covariances", gm.covariances_ * np.nan), ("covariances", gm.covariances_ * 0), ("covariances", [eye] * 3),
            ("covariances", gm.covariances_[::-1]), ("covariances", gm.covariances_ + np.triu(np.ones((4, 4)), 1)), ("covariances", [np.ones((4, 4))] * 3),
            ("covariances", gm.covariances_[0]), ("covariances", gm.covariances_ * (1 + 1e-5)), ("covariances", gm.precisions_cholesky_),
            ("precisions_cholesky", gm.covariances_), ("precisions_cholesky", -gm.precisions_cholesky_), ("precisions_cholesky", gm.precisions_cholesky_ + np.inf),
            ("precisions_cholesky", gm.precisions_cholesky_[::-1]), ("precisions_cholesky", gm.precisions_cholesky_.swapaxes(1, 2)),
            ("precisions_cholesky", gm.precisions_cholesky_ * 0), ("precisions_cholesky", gm.precisions_cholesky_[..., None]),
            ("precisions", gm.precisions_ * 2), ("precisions", gm.covariances_), ("precisions", gm.precisions_[0]), ("precisions", gm.precisions_ + np.nan),
            ("lower_bounds", [np.nan]), ("lower_bounds", [[1.0]]), ("lower_bounds", [1]), ("lower_bounds", [np.inf]), ("lower_bound", np.nan), ("lower_bound", [1.0])]:
        array = np.asarray(array)
        yield f"{name} {array.ravel()[:3]} {array.shape}", with_member(f"{name}_.npy", npy(np.ascontiguousarray(array).reshape(array.shape)))
    for change in (dict(covariance_type="diag"), dict(covariance_type="EII"), dict(covariance_type="round"), dict(covariance_type="E"), dict(covariance_type=None),
                   dict(covariance_type=["full"]), dict(converged_=1), dict(converged_="yes"), dict(n_iter_=-1), dict(n_iter_=2.0), dict(n_iter_=True),
                   dict(interrupted_=None), dict(update="x"), dict(update=3), dict(n_rows=0), dict(n_rows="a"), dict(n_rows=None), dict(n_rows=True), dict(feature_names_in_=["a"]), dict(feature_names_in_=[1, 2, 3, 4]), dict(feature_names_in_="abcd"),
                   dict(_structure="os"), dict(weights_=[1]), dict(__class__="os"), dict(predict="os.system")):
        yield f"fitted {change}", with_fitted(**change)


def refuse(path, data=None):
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(FileFormatError) as caught:
        load(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message and len(message) < 1000, message


@pytest.mark.thorough
def test_hostile_files_with_a_right_seal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gmm_lit.persistence, "LARGEST_HEADER", 10 ** 6)
    path, count = tmp_path / "hostile.npz", 0
    for name, data in hostile():
        path.write_bytes(data)
        try:
            load(path)
        except FileFormatError as error:
            assert "hostile.npz cannot be loaded: " in str(error) and len(str(error)) < 1000 and str(error).isprintable(), name
            count += 1
        except BaseException as error:
            raise AssertionError(f"{name}: {type(error).__name__} escaped") from error
        else:
            raise AssertionError(f"{name}: it was loaded")
    assert count > 450 and os.listdir(tmp_path) == ["hostile.npz"]                  # and nothing was written anywhere


def test_oversized_files_are_refused_without_reading_them(tmp_path):
    path = tmp_path / "large.npz"
    fitted().save(path)
    end = path.read_bytes()[-200:]
    for size in (2 ** 30, 2 ** 33):                           # sparse: they take no room on the disk
        with open(path, "wb") as file:
            file.truncate(size)
            file.seek(size)
            if size == 2 ** 33: file.write(end)
        begun = time.perf_counter()
        refuse(path)
        assert time.perf_counter() - begun < 5


def test_arrays_are_not_made_before_their_bytes_are_there(tmp_path):
    import tracemalloc
    tracemalloc.start()
    for shape in ((10 ** 9, 4), (10 ** 12,)):
        data = header_says(shape) + bytes(96)
        members = members_of(encode_file("mixture", *describe(fitted()))) | {"means_.npy": data}
        refuse(tmp_path / "m.npz", raw(members.items()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_parts_of_two_models_do_not_make_one(tmp_path):
    a, b = (encode_file("mixture", *describe(fitted(random_state=seed, n_components=3, init_params="random"))) for seed in (0, 1))
    one, other = members_of(a), members_of(b)
    for name in one:
        if one[name] == other[name]: continue
        data = raw((one | {name: other[name]}).items())
        broken = data[:-64] + a[-64:]                         # the seal that the file had
        refuse(tmp_path / "m.npz", broken)


def corrupt(good, other, rng):
    """A damaged copy, in one of many ways."""
    bad, kind = bytearray(good), rng.randrange(9)
    i, j = sorted(rng.sample(range(len(bad)), 2))
    if kind == 0: bad[i] ^= 1 << rng.randrange(8)
    elif kind == 1:
        for _ in range(rng.randint(2, 40)): bad[rng.randrange(len(bad))] = rng.randrange(256)
    elif kind == 2: bad = bad[:i]
    elif kind == 3: bad = bad[i:]
    elif kind == 4: bad[i:j] = bytes(j - i)
    elif kind == 5: del bad[i:j]
    elif kind == 6: bad[i:i] = rng.randbytes(rng.randint(1, 300))
    elif kind == 7: bad[i:j] = other[i:j]
    else: bad[i:i + 8] = struct.pack("<d", rng.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308, 5e-324]))
    return bytes(bad)


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.thorough
def test_fuzz(tmp_path, count):
    """Corrupted files, every second one sealed again: the one error, or (sealed) a mixture that works."""
    rng, path, refused, loaded, done = random.Random(0), tmp_path / "fuzz.npz", 0, 0, 0
    models = [fitted(covariance_type=t, init_params=init) for t in STRUCTURES for init in ("kmeans", Y)]
    goods = [encode_file("mixture", *describe(gm)) for gm in models]
    while done < count:
        good, other = rng.choice(goods), rng.choice(goods)
        bad = corrupt(good, other, rng)
        if resealed := done % 2 == 1: bad = sealed(bad[:-79] + good[-79:])
        if bad in (good, other): continue
        done += 1
        path.write_bytes(bad)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                gm = load(path)
        except FileFormatError:
            refused += 1
            continue
        assert resealed, "a damaged file was loaded"
        loaded += 1                                           # what was changed was a date, or a last digit: then it is a mixture
        if hasattr(gm, "weights_"):
            assert np.isfinite(gm.score_samples(np.zeros((2, gm.n_features_in_)))).all() and np.isclose(gm.predict_proba(X[:5]).sum(1), 1).all()
    print(f"{count} corrupted files, half of them sealed again: {refused} refused; {loaded} of the sealed ones are mixtures still")
    assert refused + loaded == count and loaded < 0.02 * count


SAVER = """
import sys
from gmm_lit import load
from gmm_lit.persistence import save
old, new = load("old.npz"), load("new.npz")
print("ready", flush=True)
while True:
    for gm in (new, old): save(gm, "m.npz")
"""


@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.thorough
def test_kill_at_random_moments_of_save(tmp_path, count, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, seen = random.Random(1), set()
    small, large = fitted(n_components=2), fitted(np.random.default_rng(0).normal(size=(400, 100)), n_components=4, max_iter=1)
    small.save("old.npz"), large.save("new.npz"), small.save("m.npz")
    contents = [Path(name).read_bytes() for name in ("old.npz", "new.npz")]
    for _ in range(count):
        with subprocess.Popen([sys.executable, "-c", SAVER], stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
        load("m.npz")
        seen.add(contents.index(Path("m.npz").read_bytes()))
    print(f"{count} kills: always loadable; drafts left: {len(list(tmp_path.glob('.gmm_lit-*.part')))}")
    assert count < 20 or seen == {0, 1}


@pytest.mark.thorough
def test_kill_at_every_step_of_a_write(tmp_path, monkeypatch):
    """A process that stops for good at each operating-system call of a write leaves the old file or the new."""
    monkeypatch.chdir(tmp_path)
    for name, old in [("fsync", True), ("replace", True), ("close", False)]:
        GaussianMixture(2).save("m.npz")
        program = f"""
import os
from gmm_lit import GaussianMixture
os.{name} = lambda *args, **options: os._exit(9)
GaussianMixture(5).save("m.npz")
"""
        assert subprocess.run([sys.executable, "-c", program]).returncode == 9
        assert load("m.npz").n_components == (2 if old else 5)


# ---- scikit-learn

sklearn_mixture = pytest.importorskip("sklearn.mixture")


@pytest.mark.parametrize("covariance_type", [*STRUCTURES, "VVV", "VII"])
@pytest.mark.thorough
def test_to_sklearn_predicts_the_same(covariance_type):
    gm = fitted(covariance_type=covariance_type)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        theirs = gm.to_sklearn()
    shared = gm._structure.names[0] in ("full", "tied", "diag", "spherical")
    assert len(said) == (not shared) and (shared or "covariance_type" in str(said[0].message))
    for method in ("predict", "predict_proba", "score_samples", "bic", "aic"):
        if method in ("bic", "aic") and not shared: continue  # as "full" it has more parameters
        np.testing.assert_allclose(getattr(theirs, method)(X), getattr(gm, method)(X), rtol=0, atol=1e-10 * (100 if method in ("bic", "aic") else 1))
    assert theirs.sample(10)[0].shape == (10, 4) and theirs.means_ is not gm.means_
    assert theirs.n_iter_ == gm.n_iter_ and theirs.converged_ == gm.converged_ and theirs.lower_bound_ == gm.lower_bound_
    back = GaussianMixture.from_sklearn(theirs)
    np.testing.assert_allclose(back.score_samples(X), gm.score_samples(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_from_sklearn_predicts_the_same(tmp_path, covariance_type):
    theirs = sklearn_mixture.GaussianMixture(3, covariance_type=covariance_type, random_state=0, tol=1e-6, max_iter=500, n_init=2).fit(X)
    gm = from_sklearn(theirs)
    for method in METHODS:
        np.testing.assert_allclose(getattr(gm, method)(X), getattr(theirs, method)(X), rtol=0, atol=1e-10)
    np.testing.assert_allclose([gm.bic(X), gm.aic(X)], [theirs.bic(X), theirs.aic(X)], rtol=1e-12)
    assert (gm.tol, gm.max_iter, gm.n_init, gm.random_state, gm.n_iter_, gm.converged_) == (1e-6, 500, 2, 0, theirs.n_iter_, theirs.converged_)
    gm.save(tmp_path / "m.npz")
    assert np.array_equal(load(tmp_path / "m.npz").score_samples(X), gm.score_samples(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {**gm.to_sklearn().get_params()} == theirs.get_params()
    gm.set_params(warm_start=True).fit(X)                     # and it can go on


def test_options_there_and_back():
    options = dict(n_components=4, covariance_type="tied", tol=1e-5, reg_covar=1e-4, max_iter=7, n_init=3, init_params="k-means++", random_state=5,
                   weights_init=[0.25] * 4, means_init=X[:4], precisions_init=np.eye(4), warm_start=True, verbose=1, verbose_interval=3)
    theirs = GaussianMixture(**options, n_jobs=2, callback=print).to_sklearn()       # neither matters to a result: no warning
    assert {name: getattr(theirs, name) for name in options} == options and not hasattr(theirs, "weights_")
    ours = from_sklearn(theirs)
    assert {name: getattr(ours, name) for name in options} == options and not hasattr(ours, "weights_")
    everything = sklearn_mixture.GaussianMixture().get_params().keys()
    assert everything == options.keys(), "scikit-learn has options that nobody thought of"


def test_what_has_no_counterpart_is_named():
    gm = GaussianMixture(3, covariance_type="EEI", accelerate="squarem", prior="default", init_params=Y, precisions_init=np.ones(4))
    with pytest.warns(UserWarning) as said:
        theirs = to_sklearn(gm)
    for name in ("accelerate", "prior", "init_params", "precisions_init", "covariance_type"):
        assert name in str(said[0].message)
    assert theirs.fit(X).converged_
    generator = np.random.default_rng(0)
    assert fitted(random_state=generator).to_sklearn().fit(X).converged_
    state = copy.deepcopy(generator.bit_generator.state)
    GaussianMixture(random_state=generator).to_sklearn().fit(X).sample(3)
    assert generator.bit_generator.state == state             # the copy was used


def test_from_sklearn_refuses_others_and_takes_float32():
    for other in (sklearn_mixture.BayesianGaussianMixture(n_components=2).fit(X), GaussianMixture(), None, "model"):
        with pytest.raises(TypeError, match="from_sklearn takes"):
            from_sklearn(other)
    theirs = sklearn_mixture.GaussianMixture(3, random_state=0).fit(X)
    theirs.weights_ = theirs.weights_ * 2
    with pytest.raises(ValueError, match="weights_"):
        from_sklearn(theirs)
    single = sklearn_mixture.GaussianMixture(3, random_state=0).fit(X.astype(np.float32))
    np.testing.assert_allclose(from_sklearn(single).predict_proba(X), single.predict_proba(X), atol=1e-3)
    assert from_sklearn(single).means_.dtype == np.float32 == from_sklearn(single).to_sklearn().means_.dtype
    pandas = pytest.importorskip("pandas")
    named = sklearn_mixture.GaussianMixture(3, random_state=0).fit(pandas.DataFrame(X, columns=list("abcd")))
    assert list(from_sklearn(named).feature_names_in_) == list("abcd") == list(from_sklearn(named).to_sklearn().feature_names_in_)
