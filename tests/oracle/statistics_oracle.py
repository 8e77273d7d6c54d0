"""Statistics of `evolora bench` against scipy and statsmodels on fresh data sets; boundaries of sequential tests against scipy's multivariate normal."""
import json

import numpy as np
import pytest
from scipy import stats

import statistics_cases

SETS = 300
# fp64 sums of at most 40 terms with up to three digits of cancellation, and distribution functions good to 1e-12.
RELATIVE = 1e-9
ENDS = {"low90": "high90", "welch_low": "welch_high", "bca_low": "bca_high"}


@pytest.fixture(scope="module")
def answers(probe):
    """(data sets, probe's answers) for new random data."""
    random = np.random.default_rng(31)
    sets = [statistics_cases.draw(random, i) for i in range(SETS)]
    fractions = [np.sort(random.choice(np.arange(1, 40), k, replace=False)) / 40 for k in (1, 2, 3, 4)]
    spending = [{"alpha": 0.05, "fractions": [*f.tolist(), 1.0]} for f in fractions]
    request = {"margin": statistics_cases.MARGIN, "resamples": 999, "sets": [{"x": x.tolist(), "y": y.tolist()} for x, y in sets], "spending": spending}
    asked, out = probe.folder / "statistics.json", probe.folder / "statistics_out.json"
    asked.write_text(json.dumps(request))
    probe.text("statistics", asked, out)
    return sets, spending, json.loads(out.read_text())


def test_estimators(answers, observe):
    sets, _, got = answers
    compared = 0
    for index, ((x, y), ours) in enumerate(zip(sets, got["sets"])):
        theirs = statistics_cases.expected_of(x, y, ours["distribution"])
        # A resample that is a permutation of the sample has its mean, up to rounding; scipy counts it as below, equal or above by chance of rounding.
        tied = np.min(np.abs(np.asarray(ours["distribution"]) - np.mean(x))) < 1e-12 * np.max(np.abs(x))
        compared += 0 if tied else 1
        for name, value in theirs.items():
            if tied and name.startswith("bca"):
                continue
            size = abs(value)
            for low, high in ENDS.items():
                if name in (low, high):
                    size = abs(theirs[low]) + abs(theirs[high])
            observe(f"statistics {name}", abs(ours[name] - value) / (RELATIVE * size + 1e-300), f"set {index}")
    assert compared >= SETS / 2, "BCa intervals compared"


def test_bootstrap_means(answers, observe):
    """The resampled means have the mean of the sample and its standard error (n - 0 in the variance), within five Monte Carlo standard errors."""
    sets, _, got = answers
    for (x, _), ours in zip(sets, got["sets"]):
        means = np.asarray(ours["distribution"])
        error = np.std(x) / np.sqrt(len(x))
        observe("bootstrap mean", abs(means.mean() - x.mean()) / (5 * error / np.sqrt(len(means))))
        fourth = stats.kurtosis(means, fisher=False)
        observe("bootstrap sd", abs(means.var() / error**2 - 1) / (5 * np.sqrt(max(fourth - 1, 1) / len(means))))


def test_spending_levels(answers, observe):
    """The chance that correlated normal statistics stay inside all boundaries up to each look is 1 - what is spent by then."""
    _, spending, got = answers
    for plan, levels in zip(spending, got["spending"]):
        fractions = np.asarray(plan["fractions"])
        z = stats.norm.isf(np.asarray(levels) / 2)
        for k in range(1, len(z) + 1):
            t = fractions[:k]
            covariance = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
            normal = stats.multivariate_normal(np.zeros(k), covariance, abseps=1e-7, releps=1e-7, maxpts=2_000_000)
            inside = normal.cdf(z[:k], lower_limit=-z[:k])
            spent = min(0.05, 4 * stats.norm.sf(stats.norm.isf(0.05 / 4) / np.sqrt(t[-1])))
            # scipy's integral is asked for 1e-7 and is random above two dimensions; ours promises 1e-6.
            observe("spending", abs((1 - inside) - spent) / 2e-6, f"{plan['fractions']} look {k}")
