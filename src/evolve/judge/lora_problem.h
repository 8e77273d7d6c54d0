// A call of lora_linear with inputs that a candidate cannot know beforehand, and what may come out of it: the judge's side of the numerics gate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/lora_linear/contract.h"

namespace evolora {

enum class ProblemValues {
  kNormal,           // about 1
  kLarge,            // x and dy times 2^20
  kTiny,             // x and dy times 2^-40
  kZeroRows,         // every third row of x and dy is 0
  kSpecialInput,     // an infinity and a NaN in x
  kSpecialGradient,  // an infinity and a NaN in dy
};

struct ProblemProjection {
  std::int64_t out = 1;
  std::int64_t rank = 0;
  float dropout = 0;
  bool bias = false;
};

struct ProblemShape {
  int bits = 0;  // of weights; 0: dense
  int group_size = 0;
  DType dtype = DType::kF32;
  std::int64_t n = 1;
  std::int64_t in = 1;
  std::vector<ProblemProjection> projections;
  ProblemValues values = ProblemValues::kNormal;

  std::string name() const;  // "4 bits, group 64, float16; n 5, in 128; out 47 rank 8 dropout 0.25 bias"
};

// Who computes what the judge compares with. The program's own kernels are a hundred times as fast as the reference, for shapes of real models; where
// they stand in for it, bounds are twice as wide.
enum class LoraSolver { kReference, kOwnKernels };

// Inputs. The same shape, seed and solver give the same bytes.
struct LoraProblem {
  struct Projection {
    std::vector<std::byte> data, scales, biases;  // of the weight
    std::vector<float> bias, a, b, dy;
    std::vector<float> da, db;  // what the gradients are added to: not zero
    std::vector<float> xa;      // what forward writes, as the solver rounds it: input of backward
    float scale = 0;
    std::uint64_t dropout_key = 0;
  };
  LoraProblem(const ProblemShape& problem_shape, std::uint64_t seed, LoraSolver solver = LoraSolver::kReference);

  ProblemShape shape;
  std::vector<float> x;
  std::vector<Projection> projections;
};

// Everything that forward and backward write.
struct LoraOutputs {
  struct Projection {
    std::vector<float> xa, y, da, db;
  };
  // Sizes of the problem; xa, y and dx are NaN, da and db what the problem says.
  explicit LoraOutputs(const LoraProblem& problem);

  std::vector<float> dx;
  std::vector<Projection> projections;
};

// The projections of a call that reads problem and writes outputs; valid while both live. xa of a backward call: the problem's.
std::vector<LoraProjection> bind_forward(const LoraProblem& problem, LoraOutputs& outputs);
std::vector<LoraProjection> bind_backward(LoraProblem& problem, LoraOutputs& outputs);

enum class LoraDirection { kForward, kBackward };
const char* word(LoraDirection direction);

// The reference's outputs and, per element, how far another may be from it: rounding errors of a sum of t products are below
// 6 sqrt(t) eps times the sum of their magnitudes, except with probability 2 exp(-18) (Higham & Mary 2019, doi 10.1137/18M1226312), and the sum of
// magnitudes is what the reference makes of the absolute values of all inputs. So an output that is all zeros, scaled, or summed in less than fp32
// cannot pass, whatever its own size.
class LoraExpectation {
 public:
  explicit LoraExpectation(const LoraProblem& problem, LoraSolver solver = LoraSolver::kReference);

  // Nothing if actual is right, else one line: the output, the index, got, expected, allowed difference. An element that is not finite in the
  // reference must not be finite; a NaN is never right elsewhere.
  std::optional<std::string> difference(LoraDirection direction, const LoraOutputs& actual) const;

 private:
  LoraOutputs values_, magnitudes_;
  double forward_factor_, backward_factor_;
};

// Nothing if what the direction writes is the same to the bit, else one line naming output and index.
std::optional<std::string> bit_difference(LoraDirection direction, const LoraOutputs& a, const LoraOutputs& b);

}  // namespace evolora
