// Bootstrap intervals of a mean with bias and skewness corrected (BCa; Efron 1987, Efron & Tibshirani 1993 chapter 14). Shown beside the t interval:
// where they differ much, the log ratios are far from normal. Not to be trusted alone below about ten observations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "measure/estimators.h"

namespace evolora {

// Means of `resamples` samples drawn with replacement from x, by Philox with this seed: the same on every machine.
std::vector<double> bootstrap_means(std::span<const double> x, std::size_t resamples, std::uint64_t seed);

// The interval of mean(x) that a bootstrap distribution of it gives. n >= 2, distribution not empty; all x equal: a point.
Interval bca_interval(std::span<const double> x, std::span<const double> distribution, double confidence = 0.95);

}  // namespace evolora
