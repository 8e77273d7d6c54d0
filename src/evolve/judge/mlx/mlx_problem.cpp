// Random inputs, the loops, and comparisons.
#include "evolve/judge/mlx/mlx_problem.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "evolve/judge/problem_numbers.h"
#include "formats/quantization.h"

namespace evolora {
namespace {

std::vector<std::byte> stored(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * dtype_size_bytes(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) store_float(dtype, bytes.data(), i, values[i]);
  return bytes;
}

std::vector<double> loaded(DType dtype, const std::vector<std::byte>& bytes) {
  std::vector<double> values(bytes.size() / dtype_size_bytes(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(load_float(dtype, bytes.data(), i));
  return values;
}

std::vector<float> rows(Random& random, std::int64_t n, std::int64_t width, MlxProblemValues kind) {
  std::vector<float> values = draws(random, count_of(n, width), 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (kind == MlxProblemValues::kLarge) values[i] *= 0x1p20F;
    if (kind == MlxProblemValues::kTiny) values[i] *= 0x1p-40F;
    if (kind == MlxProblemValues::kZeroRows && i / static_cast<std::size_t>(width) % 3 == 0) values[i] = 0;
  }
  return values;
}

// (out, in) as MLX decodes it, rounded to the type of scales.
std::vector<double> decoded(const MlxProblem& problem, const MlxProblem::Linear& linear) {
  const MlxProblemShape& shape = problem.shape;
  if (shape.bits == 0) return loaded(shape.dtype, linear.values);
  std::vector<std::byte> dense(count_of(linear.out, linear.in) * dtype_size_bytes(shape.dtype));
  std::vector<std::uint32_t> packed(linear.values.size() / sizeof(std::uint32_t));
  std::copy(linear.values.begin(), linear.values.end(), reinterpret_cast<std::byte*>(packed.data()));
  affine_dequantize({.bits = shape.bits, .group_size = shape.group_size}, shape.dtype, packed.data(), linear.scales.data(), linear.biases.data(),
                    linear.out, linear.in, dense.data());
  return loaded(shape.dtype, dense);
}

// A sum and the sum of its terms' magnitudes.
struct Sum {
  double value = 0, magnitude = 0;
  void add(double term, double size) {
    value += term;
    magnitude += size;
  }
};

using Matrix = std::vector<Sum>;  // row by row

// (rows, inner) x (inner, columns), of what at and of give as Sum.
template <typename At, typename Of>
Matrix product(std::int64_t rows, std::int64_t inner, std::int64_t columns, At at, Of of) {
  Matrix result(count_of(rows, columns));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < inner; ++k) {
      const Sum left = at(static_cast<std::size_t>(i), static_cast<std::size_t>(k));
      for (std::int64_t j = 0; j < columns; ++j) {
        const Sum right = of(static_cast<std::size_t>(k), static_cast<std::size_t>(j));
        result[count_of(i, columns) + static_cast<std::size_t>(j)].add(left.value * right.value, left.magnitude * right.magnitude);
      }
    }
  }
  return result;
}

Sum exact(double value) { return {value, std::abs(value)}; }

// The row norms' reciprocals times m, or 1 without DoRA. A relative error of d in the square of a norm is d / 2 in the gain, and d is eps times
// magnitude / value of the square: so the gain's own magnitude is (1 + that / 2) times its value.
struct Gains {
  std::vector<Sum> gain;        // (out)
  std::vector<Sum> reciprocal;  // (out) 1 / norm
};

Gains gains_of(const MlxProblem::Linear& linear, const std::vector<double>& w, std::int64_t rank, bool dora) {
  Gains out;
  for (std::int64_t j = 0; j < linear.out; ++j) {
    Sum square;
    for (std::int64_t k = 0; dora && k < linear.in; ++k) {
      Sum entry = exact(w[count_of(j, linear.in) + static_cast<std::size_t>(k)]);
      for (std::int64_t r = 0; r < rank; ++r) {
        const double term = static_cast<double>(linear.scale) * static_cast<double>(linear.a[count_of(k, rank) + static_cast<std::size_t>(r)]) *
                            static_cast<double>(linear.b[count_of(r, linear.out) + static_cast<std::size_t>(j)]);
        entry.add(term, std::abs(term));
      }
      square.add(entry.value * entry.value, entry.magnitude * entry.magnitude);
    }
    if (!dora) square = exact(1);
    const double reciprocal = 1 / std::sqrt(square.value);
    const double growth = 1 + square.magnitude / square.value / 2;
    const double m = dora ? static_cast<double>(linear.m[static_cast<std::size_t>(j)]) : 1.0;
    out.reciprocal.push_back({reciprocal, dora ? reciprocal * growth : 1.0});
    out.gain.push_back({m * reciprocal, dora ? std::abs(m) * reciprocal * growth : 1.0});
  }
  return out;
}

std::optional<std::string> compare_bits(const std::string& name, const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return fmt::format("{}[{}]: {} and {}", name, i, a[i], b[i]);
  }
  return std::nullopt;
}

// One line, or nothing if the norm of the difference is at most `factor` times that of expected.
template <typename Value>
std::optional<std::string> compare_norms(const std::string& name, const std::vector<Value>& expected, const std::vector<float>& actual,
                                         double factor) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto e = static_cast<double>(expected[i]), a = static_cast<double>(actual[i]);
    error += (a - e) * (a - e);
    size += e * e;
  }
  if (std::sqrt(error) <= factor * std::sqrt(size)) return std::nullopt;
  return fmt::format("{}: its error has the norm {:.3g}, at most {:.3g} is rounding (it has {:.3g} itself)", name, std::sqrt(error),
                     factor * std::sqrt(size), std::sqrt(size));
}

}  // namespace

std::string MlxProblemShape::name() const {
  std::string text = dora ? "dora, " : "lora, ";
  text += bits == 0 ? fmt::format("dense {}", dtype_name(dtype)) : fmt::format("{} bits, group {}, {}", bits, group_size, dtype_name(dtype));
  text += fmt::format("; n {}, {}, rank {}{}", n, fmt::join(widths, " -> "), rank, bias ? ", bias" : "");
  constexpr const char* kNames[] = {"", "; large values", "; tiny values", "; rows of zeros"};
  return text + kNames[static_cast<int>(values)];
}

MlxProblem::MlxProblem(const MlxProblemShape& problem_shape, std::uint64_t seed) : shape(problem_shape) {
  CHECK(shape.widths.size() >= 2);
  Random random(seed, 0);
  x = stored(shape.dtype, rows(random, shape.n, shape.widths.front(), shape.values));
  for (std::size_t i = 0; i < shape.linear_count(); ++i) {
    Linear linear{.in = shape.widths[i], .out = shape.widths[i + 1]};
    if (shape.bits == 0) {
      linear.values = stored(shape.dtype, draws(random, count_of(linear.out, linear.in), 0.1F));
    } else {
      linear.values.resize(count_of(linear.out, linear.in) * static_cast<std::size_t>(shape.bits) / 8);
      for (std::byte& byte : linear.values) byte = static_cast<std::byte>(random.bits());
      const std::size_t groups = count_of(linear.out, linear.in / shape.group_size);
      linear.scales = stored(shape.dtype, draws(random, groups, 0.02F));
      linear.biases = stored(shape.dtype, draws(random, groups, 0.1F));
    }
    if (shape.bias) linear.bias = stored(shape.dtype, draws(random, count_of(linear.out, 1), 1));
    linear.a = draws(random, count_of(linear.in, shape.rank), 0.1F);
    linear.b = draws(random, count_of(shape.rank, linear.out), 0.3F);
    linear.scale = 0.5F + 2 * static_cast<float>(random.uniform());
    if (random.below(2) == 0) linear.scale = -linear.scale;
    if (shape.dora) {
      const std::vector<double> w = decoded(*this, linear);
      for (std::int64_t j = 0; j < linear.out; ++j) {
        double square = 0;
        for (std::int64_t k = 0; k < linear.in; ++k) square += std::pow(w[count_of(j, linear.in) + static_cast<std::size_t>(k)], 2);
        linear.m.push_back(static_cast<float>(std::sqrt(square)) * (1 + 0.2F * draw(random)));
      }
    }
    linears.push_back(std::move(linear));
  }
  dy = stored(shape.dtype, rows(random, shape.n, shape.widths.back(), shape.values));
}

MlxOutputs::MlxOutputs(const MlxProblem& problem) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  y.assign(count_of(problem.shape.n, problem.shape.widths.back()), kNan);
  dx.assign(count_of(problem.shape.n, problem.shape.widths.front()), kNan);
  for (const MlxProblem::Linear& linear : problem.linears) {
    linears.push_back(
        {std::vector<float>(linear.a.size(), kNan), std::vector<float>(linear.b.size(), kNan), std::vector<float>(linear.m.size(), kNan)});
  }
}

std::vector<std::pair<std::string, const std::vector<float>*>> MlxOutputs::named() const {
  std::vector<std::pair<std::string, const std::vector<float>*>> list = {{"y", &y}, {"dx", &dx}};
  for (std::size_t i = 0; i < linears.size(); ++i) {
    list.emplace_back(fmt::format("da of linear {}", i), &linears[i].da);
    list.emplace_back(fmt::format("db of linear {}", i), &linears[i].db);
    list.emplace_back(fmt::format("dm of linear {}", i), &linears[i].dm);
  }
  return list;
}

MlxExpectation::MlxExpectation(const MlxProblem& problem) : dtype_(problem.shape.dtype) {
  CHECK(problem.linears.size() == 1);
  const MlxProblemShape& shape = problem.shape;
  const MlxProblem::Linear& linear = problem.linears[0];
  const std::int64_t n = shape.n, in = linear.in, out = linear.out, rank = shape.rank;
  const auto scale = static_cast<double>(linear.scale);
  const std::vector<double> w = decoded(problem, linear), x = loaded(dtype_, problem.x), dy = loaded(dtype_, problem.dy);
  const std::vector<double> bias = loaded(dtype_, linear.bias);
  const Gains gains = gains_of(linear, w, rank, shape.dora);
  const auto width = [](std::int64_t size) { return static_cast<std::size_t>(size); };
  const auto a_at = [&](std::size_t k, std::size_t r) { return exact(static_cast<double>(linear.a[k * width(rank) + r])); };
  const auto b_at = [&](std::size_t r, std::size_t j) { return exact(static_cast<double>(linear.b[r * width(out) + j])); };
  const auto x_at = [&](std::size_t i, std::size_t k) { return exact(x[i * width(in) + k]); };

  const Matrix xa = product(n, in, rank, x_at, a_at);
  Matrix v = product(n, in, out, x_at, [&](std::size_t k, std::size_t j) { return exact(w[j * width(in) + k]); });
  const Matrix xab = product(
      n, rank, out, [&](std::size_t i, std::size_t r) { return xa[i * width(rank) + r]; }, b_at);
  for (std::size_t i = 0; i < v.size(); ++i) v[i].add(scale * xab[i].value, std::abs(scale) * xab[i].magnitude);

  Output y{.name = "y", .values = {}, .magnitudes = {}};
  Matrix dv(dy.size());
  std::vector<Sum> dm(shape.dora ? width(out) : 0);
  for (std::size_t i = 0; i < v.size(); ++i) {
    const std::size_t j = i % width(out);
    const Sum& gain = gains.gain[j];
    const double b = shape.bias ? bias[j] : 0;
    y.values.push_back(gain.value * v[i].value + b);
    y.magnitudes.push_back(gain.magnitude * v[i].magnitude + std::abs(b));
    dv[i] = {dy[i] * gain.value, std::abs(dy[i]) * gain.magnitude};
    if (shape.dora) dm[j].add(dy[i] * v[i].value * gains.reciprocal[j].value, std::abs(dy[i]) * v[i].magnitude * gains.reciprocal[j].magnitude);
  }
  const auto dv_at = [&](std::size_t i, std::size_t j) { return dv[i * width(out) + j]; };
  const Matrix dvb = product(n, out, rank, dv_at, [&](std::size_t j, std::size_t r) { return b_at(r, j); });
  Matrix dx = product(n, out, in, dv_at, [&](std::size_t j, std::size_t k) { return exact(w[j * width(in) + k]); });
  const auto dvb_at = [&](std::size_t i, std::size_t r) { return dvb[i * width(rank) + r]; };
  const Matrix dx_adapter = product(n, rank, in, dvb_at, [&](std::size_t r, std::size_t k) { return a_at(k, r); });
  for (std::size_t i = 0; i < dx.size(); ++i) dx[i].add(scale * dx_adapter[i].value, std::abs(scale) * dx_adapter[i].magnitude);
  const Matrix da = product(
      in, n, rank, [&](std::size_t k, std::size_t i) { return x_at(i, k); }, dvb_at);
  const Matrix db = product(
      rank, n, out, [&](std::size_t r, std::size_t i) { return xa[i * width(rank) + r]; }, dv_at);

  const auto output = [&](const char* name, const Matrix& sums, double factor) {
    Output result{.name = name, .values = {}, .magnitudes = {}};
    for (const Sum& sum : sums) {
      result.values.push_back(factor * sum.value);
      result.magnitudes.push_back(std::abs(factor) * sum.magnitude);
    }
    return result;
  };
  outputs_ = {std::move(y), output("dx", dx, 1), output("da of linear 0", da, scale), output("db of linear 0", db, scale),
              output("dm of linear 0", dm, 1)};
  // Each result is sums inside sums: over in, out and n, over the rank, and the sums in the norm.
  factor_ = tolerance_factor(static_cast<double>(2 * in + out + n + 2 * rank + 8), dtype_);
}

std::optional<std::string> MlxExpectation::difference(const MlxOutputs& actual) const {
  const auto list = actual.named();
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    const Output& expected = outputs_[o];
    const std::vector<float>& got = *list[o].second;
    CHECK(got.size() == expected.values.size());
    if (dtype_ != DType::kF32) {
      if (auto wrong = compare_norms(expected.name, expected.values, got, factor_)) return wrong;
      continue;
    }
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double allowed = factor_ * expected.magnitudes[i];
      const auto value = static_cast<double>(got[i]);
      // Smaller numbers than fp32 has are not rounded relative to themselves.
      if (std::abs(value - expected.values[i]) <= allowed + 0x1p-126) continue;
      return fmt::format("{}[{}]: got {}, expected {} within {:.3g}", expected.name, i, got[i], expected.values[i], allowed);
    }
  }
  return std::nullopt;
}

std::optional<std::string> bit_difference(const MlxOutputs& a, const MlxOutputs& b) {
  const auto left = a.named(), right = b.named();
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (auto differs = compare_bits(left[i].first, *left[i].second, *right[i].second)) return differs;
  }
  return std::nullopt;
}

std::optional<std::string> norm_difference(const MlxProblemShape& shape, const MlxOutputs& expected, const MlxOutputs& actual) {
  const std::int64_t widest = *std::max_element(shape.widths.begin(), shape.widths.end());
  const double terms = static_cast<double>(2 * widest + shape.n) * static_cast<double>(shape.linear_count());
  const auto left = expected.named(), right = actual.named();
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (auto wrong = compare_norms(left[i].first, *left[i].second, *right[i].second, tolerance_factor(terms, shape.dtype))) return wrong;
  }
  return std::nullopt;
}

}  // namespace evolora
