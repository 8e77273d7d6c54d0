// Means, t intervals and tests: what a comparison of two arms is made of. Pure functions, thread-safe, fp64. Observations are finite; every function
// says how many it needs (CHECKed: callers decide what to say about too few).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace evolora {

struct Interval {
  double low = 0;
  double high = 0;
  bool contains(double x) const { return low <= x && x <= high; }
  double half_width() const { return (high - low) / 2; }
};

struct Summary {
  std::size_t n = 0;
  double mean = 0;
  double sd = 0;  // with n - 1; 0 for one observation
  double min = 0;
  double max = 0;
  Interval interval;  // of the mean, Student's t; for one observation the observation itself
};
// n >= 1.
Summary summarize(std::span<const double> x, double confidence = 0.95);

struct TTest {
  double mean = 0;  // of the sample, or the difference of means
  double sd = 0;    // of the sample; Welch: 0
  double standard_error = 0;
  double t = 0;  // infinite when the standard error is 0 and the mean is not at the hypothesis
  double df = 0;
  double p = 1;          // two-sided
  double p_greater = 1;  // of "not greater"
  double p_less = 1;     // of "not less"
  Interval interval;     // of mean
};
// Is the mean of x different from hypothesis? n >= 2. For pairs, x are the differences (or log ratios).
TTest one_sample_t(std::span<const double> x, double hypothesis = 0, double confidence = 0.95);
// Is mean(a) - mean(b) different from 0, variances free (Welch 1947, Satterthwaite's degrees of freedom)? Both n >= 2.
TTest welch_t(std::span<const double> a, std::span<const double> b, double confidence = 0.95);

// Two one-sided tests (Schuirmann 1987): is the mean of x inside (low, high)? Equivalent if p <= alpha, which is the same as the 1 - 2 alpha interval
// lying inside. n >= 2.
struct Equivalence {
  double mean = 0;
  double p = 1;
  Interval interval;  // 1 - 2 alpha
  bool equivalent = false;
};
Equivalence tost(std::span<const double> x, double low, double high, double alpha = 0.05);

// p-values adjusted for looking at all of them (Holm 1979), in the order given; a claim holds if its adjusted p is <= alpha.
std::vector<double> holm_adjusted(std::span<const double> p);

// log(a[i] / b[i]). Same length, all values > 0.
std::vector<double> log_ratios(std::span<const double> a, std::span<const double> b);

}  // namespace evolora
