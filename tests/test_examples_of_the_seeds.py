"""The example programs of scikit-learn's page and of two tutorials run with only their import changed."""

import contextlib
import io

import numpy as np
import pytest

pytest.importorskip("sklearn")


@pytest.fixture(autouse=True)
def quiet_programs(monkeypatch):
    """The programs seed NumPy's global state and show pictures; neither may reach other tests."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    before = np.random.get_state()
    yield
    plt.close("all")
    np.random.set_state(before)


def run(program, **names):
    assert "from sklearn.mixture import GaussianMixture" in program
    program = program.replace("from sklearn.mixture import", "from gmm_lit import")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, names)
    return names, printed.getvalue()


def test_page_of_the_class():
    names, printed = run("""
from sklearn.mixture import GaussianMixture
import numpy as np
X = np.array([[1, 2], [1, 4], [1, 0],
[10, 2], [10, 4], [10, 0]])
gm = GaussianMixture(n_components=2, random_state=0).fit(X)
print(gm.predict(X))
print(gm.means_)
print(gm.predict_proba(X))
""")
    labels = names["gm"].predict(names["X"])
    assert len(set(labels[:3])) == 1 and len(set(labels[3:])) == 1 and labels[0] != labels[3]
    np.testing.assert_allclose(names["gm"].means_[labels[[0, 3]]], [[1, 2], [10, 2]], atol=1e-6)
    assert printed.startswith(str(labels))


def test_tutorial_with_standardised_blobs():
    names, printed = run('''
import numpy as np
import matplotlib.pyplot as plt
from sklearn.mixture import GaussianMixture
from sklearn.datasets import make_blobs
from sklearn.preprocessing import StandardScaler
# Generate synthetic data with 3 clusters
X, _ = make_blobs(n_samples=300, centers=3, cluster_std=1.2, random_state=42)
# Standardize features (important for GMM)
scaler = StandardScaler()
X_scaled = scaler.fit_transform(X)
# Plot raw data
plt.scatter(X_scaled[:, 0], X_scaled[:, 1], s=30, alpha=0.6)
plt.title("Generated Data for Clustering")
plt.xlabel("Feature 1")
plt.ylabel("Feature 2")
plt.show()
# Define and fit the GMM model
gmm = GaussianMixture(n_components=3, covariance_type='full', random_state=42)
gmm.fit(X_scaled)
# Predict cluster labels (hard assignment)
labels = gmm.predict(X_scaled)
# Get soft probabilities for each cluster
probabilities = gmm.predict_proba(X_scaled)
# Plot clusters with GMM labels
plt.scatter(X_scaled[:, 0], X_scaled[:, 1], c=labels, cmap='viridis', s=40, alpha=0.7)
plt.scatter(gmm.means_[:, 0], gmm.means_[:, 1], c='red', marker='X', s=200, label='Centroids')
plt.title("GMM Clustering Results")
plt.xlabel("Feature 1")
plt.ylabel("Feature 2")
plt.legend()
plt.show()
print("Cluster Weights (pi):", gmm.weights_)
print("Cluster Means (mu):", gmm.means_)
print("Cluster Covariances (Sigma):", gmm.covariances_)
''')
    assert names["probabilities"].shape == (300, 3)
    for k in range(3):  # each true clump is one component
        assert len(set(names["labels"][names["_"] == k])) == 1
    assert printed.count("Cluster") == 3


def test_five_minute_tutorial():
    names, printed = run('''
import numpy as np
from sklearn.mixture import GaussianMixture

# Create sample data with 2 groups
np.random.seed(0)
group1 = np.random.normal(loc=0, scale=1, size=(100, 2))
group2 = np.random.normal(loc=5, scale=1, size=(100, 2))
data = np.vstack([group1, group2])

# Create and fit GMM with 2 groups
model = GaussianMixture(n_components=2, random_state=0)
model.fit(data)

# Predict group for each point
labels = model.predict(data)

# Print how many points in each group
unique, counts = np.unique(labels, return_counts=True)
print(f"Group counts: {dict(zip(unique, counts))}")

# Print first 5 predictions
print(f"First 5 group predictions: {labels[:5]}")
''')
    assert names["counts"].tolist() == [100, 100]
    assert len(set(names["labels"][:100])) == 1
    assert "Group counts" in printed and "First 5 group predictions" in printed


@pytest.mark.parametrize("call", [
    "gmm = GaussianMixture(n_components=number_of_groups, covariance_type='full')\ngmm.fit(data)\npredictions = gmm.predict(data)",
    "gmm = GaussianMixture(n_components=3)\ngmm.fit(X)\npredictions = gmm.predict(X)",
    "gmm = GaussianMixture(n_components=2, covariance_type='diag')\ngmm.fit(X)\npredictions = gmm.predict(X)",
    "gmm = GaussianMixture(n_components=4, random_state=42)\ngmm.fit(X)\npredictions = gmm.predict(X)",
])
def test_fragments_of_the_tutorial(call):
    X = np.random.default_rng(0).normal(size=(200, 2)) + np.repeat([[0, 0], [6, 0], [0, 6], [6, 6]], 50, axis=0)
    names, _ = run("from sklearn.mixture import GaussianMixture\n" + call, X=X, data=X, number_of_groups=2)
    assert set(names["predictions"]) == set(range(names["gmm"].n_components))
