// A chain of adapted linears with inputs that a candidate cannot know beforehand, and what may come out of one: the judge's side of the numerics gate
// for packs on MLX. No MLX in here: what the results are compared with are loops in fp64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace evolora {

enum class MlxProblemValues {
  kNormal,    // about 1
  kLarge,     // x and dy times 2^20
  kTiny,      // x and dy times 2^-40
  kZeroRows,  // every third row of x and dy is 0
};

struct MlxProblemShape {
  bool dora = true;
  int bits = 0;  // of weights; 0: dense
  int group_size = 0;
  DType dtype = DType::kF32;  // of the model: x, y, dense weights, scales, biases
  std::int64_t n = 1;
  std::vector<std::int64_t> widths = {1, 1};  // in of the first linear, then out of each
  std::int64_t rank = 1;
  bool bias = false;
  MlxProblemValues values = MlxProblemValues::kNormal;

  std::size_t linear_count() const { return widths.size() - 1; }
  std::string name() const;  // "dora, 4 bits, group 64, float32; n 5, 128 -> 47, rank 8, bias"
};

// Inputs. The same shape and seed give the same bytes.
struct MlxProblem {
  struct Linear {
    std::int64_t in = 1, out = 1;
    std::vector<std::byte> values, scales, biases;  // of the weight
    std::vector<std::byte> bias;                    // of the model's type
    std::vector<float> a, b, m;                     // m: near the row norms, as training leaves it
    float scale = 0;
  };
  MlxProblem(const MlxProblemShape& problem_shape, std::uint64_t seed);

  MlxProblemShape shape;
  std::vector<std::byte> x, dy;  // of the model's type
  std::vector<Linear> linears;
};

// Everything that forward and backward give, fp32. Sizes of the problem, all NaN.
struct MlxOutputs {
  struct Linear {
    std::vector<float> da, db, dm;
  };
  explicit MlxOutputs(const MlxProblem& problem);
  // "y", "dx", "da of linear 0", ... with their values.
  std::vector<std::pair<std::string, const std::vector<float>*>> named() const;

  std::vector<float> y, dx;
  std::vector<Linear> linears;
};

// The results of one linear in fp64, and how far others may be from them. Of a model in fp32 per element: 6 sqrt(t) eps times the sum of the
// magnitudes of the t terms (Higham & Mary 2019, doi 10.1137/18M1226312), where the magnitudes include those that make the row norm; so zeros, scaled
// outputs or sums in fewer bits cannot pass, whatever the size of the output. Of a model in 16 bits such a bound is wider than the outputs: there the
// Euclidean norm of an output's error may be 6 sqrt(t) eps times that of the output.
class MlxExpectation {
 public:
  // problem: of one linear.
  explicit MlxExpectation(const MlxProblem& problem);

  // Nothing if actual is right, else one line.
  std::optional<std::string> difference(const MlxOutputs& actual) const;

 private:
  struct Output {
    std::string name;
    std::vector<double> values, magnitudes;
  };
  std::vector<Output> outputs_;
  DType dtype_;
  double factor_;
};

// Nothing if both are the same to the bit, else one line naming output and index.
std::optional<std::string> bit_difference(const MlxOutputs& a, const MlxOutputs& b);

// Nothing if every output of actual is within 6 sqrt(t) eps of expected, in the Euclidean norm, for chains: t is the largest number of terms times
// the number of linears. Not finite numbers differ from everything.
std::optional<std::string> norm_difference(const MlxProblemShape& shape, const MlxOutputs& expected, const MlxOutputs& actual);

}  // namespace evolora
