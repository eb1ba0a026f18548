"""Gaussian mixture models as a book that runs.

>>> from gmm_lit import GaussianMixture
>>> from gmm_lit.datasets import load_faithful
>>> gm = GaussianMixture(n_components=2, random_state=0).fit(load_faithful().data)

Each module of the package is exported from the notebook of the same name; the notebooks
tell what it does and why.
"""

__version__ = "0.1.0"

from gmm_lit import convergence as _convergence      # registers accelerate="squarem"
from gmm_lit import hierarchical as _hierarchical    # registers init_params="hierarchical", "ward", "mclust"
from gmm_lit import iterative_structures as _iterative_structures      # registers VEI, VEE, VEV, EVE, VVE
from gmm_lit import cluster as _cluster              # registers Dask arrays and data frames as X
from gmm_lit import scale as _scale                  # registers paths, tables and streams as X
from gmm_lit.mixture import ConvergenceWarning, GaussianMixture, NotFittedError
from gmm_lit.persistence import FileFormatError, load, save
from gmm_lit.selection import GaussianMixtureSearch

__all__ = ["ConvergenceWarning", "FileFormatError", "GaussianMixture", "GaussianMixtureSearch", "NotFittedError", "load", "save"]
