"""Tolerances of the oracles: how far apart two correct float32 implementations may be (see numpy_model.MonteCarloRounding)."""
import numpy as np

from numpy_model import UNIT_ROUNDOFF, MonteCarloRounding

DRAWS = 3
# The draws sample the spread of rounding errors; their largest, times this, is where we stop believing in rounding. One accumulator per sum is the
# pessimistic order, so real implementations are expected at 0.1 to 0.4 of the tolerance.
SAFETY = 4.0


class GradientTolerance:
    """The exact loss and gradients of a batch, and how much a float32 result may differ from them."""

    def __init__(self, model, passes, adapters_of_pass, rounding=MonteCarloRounding):
        """passes: [(batch, loss_scale)]; adapters_of_pass: Adapters for each (their masks may differ). rounding: how the implementation sums."""
        self.losses, self.exact = self._run(model, passes, adapters_of_pass, None)
        draws = [self._run(model, passes, adapters_of_pass, rounding(seed)) for seed in range(DRAWS)]
        self.norm = {k: SAFETY * max(np.linalg.norm(g[k] - e) for _, g in draws) for k, e in self.exact.items()}
        self.largest = {k: SAFETY * max(np.abs(g[k] - e).max() for _, g in draws) for k, e in self.exact.items()}
        # A sum of cross-entropies is one number: its error is SAFETY deviations of a sum of independent errors, each row's measured by the draws.
        rows = max(len(b.loss_rows) for b, _ in passes)
        spread = np.sqrt(np.mean([np.square(np.subtract(losses, self.losses)) for losses, _ in draws]))
        self.loss = SAFETY * max(spread, UNIT_ROUNDOFF * np.sqrt(rows) * max(map(abs, self.losses)))

    @staticmethod
    def _run(model, passes, adapters_of_pass, rounding):
        losses, total = [], {}
        for (batch, scale), adapters in zip(passes, adapters_of_pass):
            loss, gradients = model.loss_and_gradients(batch, adapters, rounding)
            losses.append(loss)
            for k, g in gradients.items():
                total[k] = total.get(k, 0.0) + scale * g
        return losses, total

    def ratio(self, gradients, against=None):
        """(largest error / tolerance, name). against: (gradients, tolerance) of another float32 result instead of the exact one."""
        assert set(gradients) == set(self.exact), sorted(set(gradients) ^ set(self.exact))
        worst = (0.0, "")
        for k in self.exact:
            assert gradients[k].shape == self.exact[k].shape, k
            reference, norm, largest = self.exact[k], self.norm[k], self.largest[k]
            if against is not None:
                others, tolerance = against
                reference, norm, largest = others[k], norm + tolerance.norm[k], largest + tolerance.largest[k]
            error = np.asarray(gradients[k], np.float64) - reference
            if not np.isfinite(error).all():
                return np.inf, k
            worst = max(worst, (max(np.linalg.norm(error) / norm, np.abs(error).max() / largest), k))
        return worst


def logits_tolerance(model, rows, adapters=None):
    """(exact logits per row, largest error allowed in any)."""
    exact = model.logits(rows, adapters)
    draws = [model.logits(rows, adapters, MonteCarloRounding(seed)) for seed in range(DRAWS)]
    return exact, SAFETY * max(np.abs(d - e).max() for draw in draws for d, e in zip(draw, exact))
