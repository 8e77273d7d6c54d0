"""Data sets of the statistics oracle and what scipy and statsmodels say about them. As a program: writes tests/data/statistics_golden.json, which the quick
test of src/measure reads."""
import json
import sys

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

MARGIN = 0.01


def draw(random, index):
    """Two samples: sizes from 3 to 40, several shapes, scales from 1e-4 to 10, with ties in every fifth."""
    n, m = int(random.integers(3, 41)), int(random.integers(3, 41))
    scale = 10.0 ** random.uniform(-4, 1)
    shapes = [lambda k: random.normal(0.3, 1, k), lambda k: random.standard_t(3, k), lambda k: random.exponential(1, k) - 0.5, lambda k: random.uniform(-1, 1, k)]
    shape = shapes[index % len(shapes)]
    x, y = scale * shape(n), scale * shape(m)
    if index % 5 == 0 and n <= 13:  # scipy enumerates all signs up to 13 observations when there are ties
        x = np.round(x / scale, 1) * scale
        x = np.where(np.abs(x) < scale / 20, scale / 10, x)
    return x, y


def wilcoxon(x):
    tied = len(np.unique(np.abs(x))) < len(x)
    method = stats.PermutationMethod(n_resamples=np.inf) if tied else "exact"
    return float(stats.wilcoxon(x, method=method).pvalue)


def expected_of(x, y, distribution):
    """What the others say. distribution: bootstrapped means of x."""
    t = stats.ttest_1samp(x, MARGIN)
    low, high = t.confidence_interval(0.9)
    welch = stats.ttest_ind(x, y, equal_var=False)
    welch_interval = CompareMeans(DescrStatsW(x), DescrStatsW(y)).tconfint_diff(usevar="unequal")
    tost, _, _ = DescrStatsW(x).ttost_mean(-MARGIN, MARGIN)
    given = type("Given", (), {"bootstrap_distribution": np.asarray(distribution)})()
    bca = stats.bootstrap((x,), np.mean, n_resamples=0, bootstrap_result=given, method="BCa").confidence_interval
    return {
        "mean": float(np.mean(x)), "sd": float(np.std(x, ddof=1)), "t": float(t.statistic), "p": float(t.pvalue), "low90": float(low), "high90": float(high),
        "p_greater": float(stats.ttest_1samp(x, MARGIN, alternative="greater").pvalue),
        "welch_t": float(welch.statistic), "welch_df": float(welch.df), "welch_p": float(welch.pvalue),
        "welch_low": float(welch_interval[0]), "welch_high": float(welch_interval[1]),
        "tost_p": float(tost), "wilcoxon_p": wilcoxon(x), "bca_low": float(bca.low), "bca_high": float(bca.high),
    }


def holm_case(random):
    p = random.uniform(0, 0.2, int(random.integers(1, 9)))
    return {"p": p.tolist(), "adjusted": multipletests(p, method="holm")[1].tolist()}


def power_case(random):
    n, effect, alpha = int(random.integers(3, 60)), float(random.uniform(0.05, 2)), float(10 ** random.uniform(-4, -1))
    return {"n": n, "effect": effect, "alpha": alpha, "power": float(TTestPower().power(effect, n, alpha, alternative="larger"))}


def main(path):
    random = np.random.default_rng(20261125)
    sets = []
    for index in range(220):
        x, y = draw(random, index)
        distribution = np.mean(random.choice(x, (61, len(x))), axis=1)
        sets.append({"x": x.tolist(), "y": y.tolist(), "distribution": distribution.tolist(), "expected": expected_of(x, y, distribution)})
    golden = {"margin": MARGIN, "sets": sets, "holm": [holm_case(random) for _ in range(200)], "power": [power_case(random) for _ in range(200)]}
    with open(path, "w", encoding="utf-8") as file:
        file.write("{" + ",\n".join(f"{json.dumps(key)}: " + (f"[{','.join(chr(10) + json.dumps(v) for v in value)}]" if isinstance(value, list) else json.dumps(value))
                                    for key, value in golden.items()) + "}\n")


if __name__ == "__main__":
    main(sys.argv[1])
