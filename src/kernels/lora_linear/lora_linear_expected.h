// What the reference says of a lora_linear problem, and how far off another implementation may be.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/lora_linear/lora_linear_problem.h"

namespace evolora::testing_support {

// Rounding errors of a sum of `terms` products are at most lambda sqrt(terms) eps times the sum of magnitudes, except with probability
// 2 exp(-lambda^2 / 2) (Higham & Mary 2019, doi 10.1137/18M1226312). lambda 6 is safe for the 1e7 outputs looked at here.
inline double tolerance_factor(std::int64_t terms) { return 6 * std::sqrt(static_cast<double>(terms)) * kEps; }

inline std::vector<double> bounds(const Buffer& magnitudes, double factor) {
  std::vector<double> result(magnitudes.size());
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = factor * static_cast<double>(magnitudes[i]);
  return result;
}

inline void run_reference(const Problem& problem, Outputs& outputs) {
  TestContext context(1, 0);
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  reference::lora_linear_forward({problem.x.data(), problem.shape.n, bound}, context.get());
  reference::lora_linear_backward({problem.x.data(), problem.shape.n, bound, outputs.dx.data()}, context.get());
}

// The reference's results and how far off a result may be.
struct Expected {
  explicit Expected(const Problem& problem) : values(problem), magnitudes(problem) {
    run_reference(problem, values);
    const Problem absolute = problem.absolute();
    magnitudes = Outputs(absolute);
    run_reference(absolute, magnitudes);
    std::int64_t outs = 0, ranks = 0;
    for (const ProjectionShape& p : problem.shape.projections) {
      outs += p.out;
      ranks += p.rank;
    }
    // + 8: decoding, bias, scale, dropout factor and the last rounding.
    forward = tolerance_factor(problem.shape.in + ranks + 8);
    backward = tolerance_factor(std::max(outs, problem.shape.n) + problem.shape.in + ranks + 8);
  }
  void expect(const Outputs& actual) const {
    for (std::size_t i = 0; i < actual.projections.size(); ++i) {
      SCOPED_TRACE("projection " + std::to_string(i));
      expect_close(actual.projections[i].y, values.projections[i].y, bounds(magnitudes.projections[i].y, forward), "y");
      expect_close(actual.projections[i].xa, values.projections[i].xa, bounds(magnitudes.projections[i].xa, forward), "xa");
      expect_close(actual.projections[i].da, values.projections[i].da, bounds(magnitudes.projections[i].da, backward), "da");
      expect_close(actual.projections[i].db, values.projections[i].db, bounds(magnitudes.projections[i].db, backward), "db");
    }
    expect_close(actual.dx, values.dx, bounds(magnitudes.dx, backward), "dx");
  }
  Outputs values, magnitudes;
  double forward, backward;
};

}  // namespace evolora::testing_support
