// Random inputs, the reference on them and on their absolute values, and comparisons.
#include "evolve/judge/lora_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

#include "base/threads.h"
#include "evolve/judge/problem_numbers.h"

namespace evolora {
namespace {

std::vector<std::byte> stored_draws(Random& random, DType dtype, std::size_t count, float scale) {
  std::vector<std::byte> bytes(count * dtype_size_bytes(dtype));
  for (std::size_t i = 0; i < count; ++i) store_float(dtype, bytes.data(), i, scale * draw(random));
  return bytes;
}

void take_absolute(std::vector<float>& values) {
  for (float& value : values) value = std::abs(value);
}

void take_absolute(DType dtype, std::vector<std::byte>& bytes) {
  for (std::size_t i = 0; i < bytes.size() / dtype_size_bytes(dtype); ++i) {
    store_float(dtype, bytes.data(), i, std::abs(load_float(dtype, bytes.data(), i)));
  }
}

// |scale| q + |bias| or |w|, |x|, ...: what the rounding errors of sums are proportional to.
LoraProblem absolute_of(const LoraProblem& problem) {
  LoraProblem result = problem;
  take_absolute(result.x);
  for (LoraProblem::Projection& p : result.projections) {
    for (std::vector<float>* values : {&p.bias, &p.a, &p.b, &p.dy, &p.da, &p.db, &p.xa}) take_absolute(*values);
    if (problem.shape.bits == 0) take_absolute(problem.shape.dtype, p.data);
    for (std::vector<std::byte>* bytes : {&p.scales, &p.biases}) take_absolute(problem.shape.dtype, *bytes);
    p.scale = std::abs(p.scale);
  }
  return result;
}

LoraProjection bind_inputs(const LoraProblem& problem, std::size_t i) {
  const ProblemShape& shape = problem.shape;
  const ProblemProjection& of = shape.projections[i];
  const LoraProblem::Projection& in = problem.projections[i];
  LoraProjection p{.weight = {.out = of.out,
                              .in = shape.in,
                              .bits = shape.bits,
                              .group_size = shape.group_size,
                              .dtype = shape.dtype,
                              .data = in.data.data(),
                              .scales = shape.bits == 0 ? nullptr : in.scales.data(),
                              .biases = shape.bits == 0 ? nullptr : in.biases.data()},
                   .bias = of.bias ? in.bias.data() : nullptr};
  if (of.rank == 0) return p;
  p.a = in.a.data();
  p.b = in.b.data();
  p.rank = of.rank;
  p.scale = in.scale;
  p.dropout = of.dropout;
  p.dropout_key = in.dropout_key;
  return p;
}

// Contents of scratch memory do not matter, but its size is asked for.
template <typename Args>
void run_own(const Args& args, Threads& threads, void (*kernel)(const Args&, KernelContext&), std::size_t (*workspace)(const Args&, int)) {
  const std::size_t bytes = workspace(args, threads.count());
  std::vector<std::byte> memory(bytes + 64);
  std::byte* begin = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  KernelContext context{.threads = threads, .workspace = begin, .workspace_bytes = bytes};
  kernel(args, context);
}

void solve(LoraProblem& problem, LoraOutputs& outputs, LoraDirection direction, LoraSolver solver) {
  Threads threads(1);
  KernelContext context{.threads = threads};
  if (direction == LoraDirection::kForward) {
    const auto bound = bind_forward(problem, outputs);
    const LoraLinearForward args{problem.x.data(), problem.shape.n, bound};
    if (solver == LoraSolver::kReference) return reference::lora_linear_forward(args, context);
    run_own(args, threads, cpu::lora_linear_forward, cpu::lora_linear_forward_workspace_bytes);
  } else {
    const auto bound = bind_backward(problem, outputs);
    const LoraLinearBackward args{problem.x.data(), problem.shape.n, bound, outputs.dx.data()};
    if (solver == LoraSolver::kReference) return reference::lora_linear_backward(args, context);
    run_own(args, threads, cpu::lora_linear_backward, cpu::lora_linear_backward_workspace_bytes);
  }
}

struct Named {
  std::string name;
  std::span<const float> values;
};

// What the direction writes, in a fixed order.
std::vector<Named> written(LoraDirection direction, const LoraOutputs& outputs) {
  std::vector<Named> list;
  for (std::size_t i = 0; i < outputs.projections.size(); ++i) {
    const LoraOutputs::Projection& p = outputs.projections[i];
    const std::string of = fmt::format(" of projection {}", i);
    if (direction == LoraDirection::kForward) {
      list.push_back({"y" + of, p.y});
      list.push_back({"xa" + of, p.xa});
    } else {
      list.push_back({"da" + of, p.da});
      list.push_back({"db" + of, p.db});
    }
  }
  if (direction == LoraDirection::kBackward) list.push_back({"dx", outputs.dx});
  return list;
}

void make_special(std::vector<float>& values, Random& random) {
  if (values.empty()) return;
  values[random.below(values.size())] = std::numeric_limits<float>::infinity();
  values[random.below(values.size())] = std::numeric_limits<float>::quiet_NaN();
}

void shape_values(std::vector<float>& values, std::int64_t rows, ProblemValues kind, ProblemValues special, Random& random) {
  if (kind == ProblemValues::kLarge || kind == ProblemValues::kTiny) {
    for (float& value : values) value *= kind == ProblemValues::kLarge ? 0x1p20F : 0x1p-40F;
  }
  if (kind == ProblemValues::kZeroRows) {
    const std::size_t width = values.size() / static_cast<std::size_t>(rows);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = i / width % 3 == 0 ? 0.0F : values[i];
  }
  if (kind == special) make_special(values, random);
}

}  // namespace

const char* word(LoraDirection direction) { return direction == LoraDirection::kForward ? "forward" : "backward"; }

std::string ProblemShape::name() const {
  std::string text =
      bits == 0 ? fmt::format("dense {}", dtype_name(dtype)) : fmt::format("{} bits, group {}, {}", bits, group_size, dtype_name(dtype));
  text += fmt::format("; n {}, in {}", n, in);
  for (const ProblemProjection& p : projections) {
    text += fmt::format("; out {} rank {}{}{}", p.out, p.rank, p.dropout > 0 ? fmt::format(" dropout {}", p.dropout) : "", p.bias ? " bias" : "");
  }
  constexpr const char* kNames[] = {"", "; large values", "; tiny values", "; rows of zeros", "; Inf and NaN in x", "; Inf and NaN in dy"};
  return text + kNames[static_cast<int>(values)];
}

LoraProblem::LoraProblem(const ProblemShape& problem_shape, std::uint64_t seed, LoraSolver solver) : shape(problem_shape) {
  Random random(seed, 0);
  x = draws(random, count_of(shape.n, shape.in), 1);
  shape_values(x, shape.n, shape.values, ProblemValues::kSpecialInput, random);
  for (const ProblemProjection& of : shape.projections) {
    Projection p;
    if (shape.bits == 0) {
      p.data = stored_draws(random, shape.dtype, count_of(of.out, shape.in), 0.1F);
    } else {
      p.data.resize(count_of(of.out, shape.in) * static_cast<std::size_t>(shape.bits) / 8);
      for (std::byte& byte : p.data) byte = static_cast<std::byte>(random.bits());
      const std::size_t groups = count_of(of.out, shape.in / shape.group_size);
      p.scales = stored_draws(random, shape.dtype, groups, 0.02F);
      p.biases = stored_draws(random, shape.dtype, groups, 0.1F);
    }
    p.bias = draws(random, count_of(of.out, 1), 1);
    p.a = draws(random, count_of(shape.in, of.rank), 0.1F);
    p.b = draws(random, count_of(of.rank, of.out), 1);
    p.dy = draws(random, count_of(shape.n, of.out), 1);
    shape_values(p.dy, shape.n, shape.values, ProblemValues::kSpecialGradient, random);
    p.da = draws(random, p.a.size(), 1);
    p.db = draws(random, p.b.size(), 1);
    p.scale = 0.5F + 2 * static_cast<float>(random.uniform());
    if (random.below(2) == 0) p.scale = -p.scale;
    p.dropout_key = random.bits();
    projections.push_back(std::move(p));
  }
  LoraOutputs outputs(*this);
  solve(*this, outputs, LoraDirection::kForward, solver);
  for (std::size_t i = 0; i < projections.size(); ++i) projections[i].xa = outputs.projections[i].xa;
}

LoraOutputs::LoraOutputs(const LoraProblem& problem) : dx(problem.x.size(), std::numeric_limits<float>::quiet_NaN()) {
  for (const LoraProblem::Projection& p : problem.projections) {
    const std::size_t rank = p.a.size() / static_cast<std::size_t>(problem.shape.in);
    projections.push_back({std::vector<float>(static_cast<std::size_t>(problem.shape.n) * rank, std::numeric_limits<float>::quiet_NaN()),
                           std::vector<float>(p.dy.size(), std::numeric_limits<float>::quiet_NaN()), p.da, p.db});
  }
}

std::vector<LoraProjection> bind_forward(const LoraProblem& problem, LoraOutputs& outputs) {
  std::vector<LoraProjection> bound;
  for (std::size_t i = 0; i < problem.projections.size(); ++i) {
    LoraProjection p = bind_inputs(problem, i);
    p.y = outputs.projections[i].y.data();
    if (p.rank > 0) p.xa = outputs.projections[i].xa.data();
    bound.push_back(p);
  }
  return bound;
}

std::vector<LoraProjection> bind_backward(LoraProblem& problem, LoraOutputs& outputs) {
  std::vector<LoraProjection> bound;
  for (std::size_t i = 0; i < problem.projections.size(); ++i) {
    LoraProjection p = bind_inputs(problem, i);
    p.dy = problem.projections[i].dy.data();
    if (p.rank > 0) {
      p.xa = problem.projections[i].xa.data();
      p.da = outputs.projections[i].da.data();
      p.db = outputs.projections[i].db.data();
    }
    bound.push_back(p);
  }
  return bound;
}

LoraExpectation::LoraExpectation(const LoraProblem& problem, LoraSolver solver) : values_(problem), magnitudes_(problem) {
  LoraProblem copy = problem;
  LoraProblem absolute = absolute_of(problem);
  magnitudes_ = LoraOutputs(absolute);
  for (const LoraDirection direction : {LoraDirection::kForward, LoraDirection::kBackward}) {
    solve(copy, values_, direction, solver);
    solve(absolute, magnitudes_, direction, solver);
  }
  std::int64_t outs = 0, ranks = 0;
  for (const ProblemProjection& p : problem.shape.projections) {
    outs += p.out;
    ranks += p.rank;
  }
  // + 8: decoding, bias, scale, dropout factor and the last rounding. Backward: dx sums over outputs, da and db over rows; dxa over outputs before.
  const double parties = solver == LoraSolver::kReference ? 1 : 2;  // that round in fp32
  forward_factor_ = parties * tolerance_factor(static_cast<double>(problem.shape.in + ranks + 8));
  backward_factor_ = parties * tolerance_factor(static_cast<double>(std::max(outs, problem.shape.n) + problem.shape.in + ranks + 8));
}

std::optional<std::string> LoraExpectation::difference(LoraDirection direction, const LoraOutputs& actual) const {
  const double factor = direction == LoraDirection::kForward ? forward_factor_ : backward_factor_;
  const auto got = written(direction, actual), expected = written(direction, values_), magnitudes = written(direction, magnitudes_);
  for (std::size_t list = 0; list < got.size(); ++list) {
    for (std::size_t i = 0; i < got[list].values.size(); ++i) {
      const auto value = static_cast<double>(got[list].values[i]), reference = static_cast<double>(expected[list].values[i]);
      const double bound = factor * static_cast<double>(magnitudes[list].values[i]);
      const bool right = std::isfinite(reference) ? std::abs(value - reference) <= bound : !std::isfinite(value);
      if (right) continue;
      return fmt::format("{}[{}]: got {}, expected {}, allowed difference {:.3g}", got[list].name, i, value, reference,
                         std::isfinite(reference) ? bound : 0.0);
    }
  }
  return std::nullopt;
}

std::optional<std::string> bit_difference(LoraDirection direction, const LoraOutputs& a, const LoraOutputs& b) {
  const auto first = written(direction, a), second = written(direction, b);
  for (std::size_t list = 0; list < first.size(); ++list) {
    for (std::size_t i = 0; i < first[list].values.size(); ++i) {
      const float one = first[list].values[i], other = second[list].values[i];
      const bool both_nan = std::isnan(one) && std::isnan(other);  // which NaN is not part of a result
      if (both_nan || std::bit_cast<std::uint32_t>(one) == std::bit_cast<std::uint32_t>(other)) continue;
      return fmt::format("{}[{}]: {:.9g} and {:.9g}", first[list].name, i, one, other);
    }
  }
  return std::nullopt;
}

}  // namespace evolora
