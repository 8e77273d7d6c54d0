// Looking at the data while they come in, without fooling oneself: group-sequential boundaries by alpha spending (Lan & DeMets 1983).
#pragma once

#include <span>
#include <vector>

namespace evolora {

// Shares of a two-sided alpha that may be spent up to information fraction t in (0, 1]; alpha at t = 1.
// Like O'Brien & Fleming's boundaries, almost nothing early: 4 (1 - Phi(z(1 - alpha / 4) / sqrt(t))).
double obrien_fleming_spent(double alpha, double t);
// Like Pocock's, about the same at each look: alpha ln(1 + (e - 1) t).
double pocock_spent(double alpha, double t);
using Spending = double (*)(double alpha, double t);

// The nominal two-sided significance level of each look, so that the chance to cross at any look is alpha if there is no effect. fractions:
// increasing, in (0, 1]; the last look spends what is left only if it is at 1. For normal statistics with independent increments (Armitage, McPherson
// & Rowe 1969, by numerical integration; error below 1e-6 in the level); t tests use the levels on their p-values, which is slightly approximate for
// few observations.
std::vector<double> spending_levels(double alpha, std::span<const double> fractions, Spending spending = obrien_fleming_spent);

}  // namespace evolora
