"""Build gmm_lit from what settings.ini says."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
LICENSES = {"bsd3": "BSD-3-Clause"}
STATUSES = ["1 - Planning", "2 - Pre-Alpha", "3 - Alpha", "4 - Beta", "5 - Production/Stable", "6 - Mature", "7 - Inactive"]


def read_settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(HERE / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def extras(cfg):
    """`NAME_requirements` in settings.ini is the extra NAME."""
    ending = "_requirements"
    return {key.removesuffix(ending): cfg[key].split() for key in cfg if key.endswith(ending)}


def long_description():
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


cfg = read_settings()
lib = cfg["lib_name"]

setup(
    name=lib,
    version=cfg["version"],
    description=cfg["description"],
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    url=cfg["git_url"],
    license=LICENSES[cfg["license"]],
    keywords=cfg["keywords"].split(),
    classifiers=[
        "Development Status :: " + STATUSES[int(cfg["status"]) - 1],
        "Intended Audience :: " + cfg["audience"],
        "Natural Language :: " + cfg["language"],
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering",
    ],
    packages=find_packages(include=[lib, f"{lib}.*"]),
    package_data={lib: cfg["package_data"].split()},
    include_package_data=False,
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require=extras(cfg),
    entry_points={"nbdev": [f"{lib}={lib}._modidx:d"]},
    zip_safe=False,
)
