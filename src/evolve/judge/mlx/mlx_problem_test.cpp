// What the numerics gate of packs on MLX lets through and what not, by a plain fp32 DoRA written here: no MLX, no sandbox.
#include "evolve/judge/mlx/mlx_problem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "evolve/judge/mlx/mlx_numerics.h"
#include "formats/quantization.h"

namespace evolora {
namespace {

using testing::HasSubstr;

std::size_t at(std::int64_t row, std::int64_t width, std::int64_t column) { return static_cast<std::size_t>(row * width + column); }

std::vector<float> floats(DType dtype, const std::vector<std::byte>& bytes) {
  std::vector<float> out(bytes.size() / dtype_size_bytes(dtype));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = load_float(dtype, bytes.data(), i);
  return out;
}

std::vector<float> dense(const MlxProblem& p) {
  const MlxProblem::Linear& l = p.linears[0];
  if (p.shape.bits == 0) return floats(p.shape.dtype, l.values);
  std::vector<std::byte> bytes(static_cast<std::size_t>(l.out * l.in) * dtype_size_bytes(p.shape.dtype));
  std::vector<std::uint32_t> packed(l.values.size() / 4);
  std::copy(l.values.begin(), l.values.end(), reinterpret_cast<std::byte*>(packed.data()));
  affine_dequantize({p.shape.bits, p.shape.group_size}, p.shape.dtype, packed.data(), l.scales.data(), l.biases.data(), l.out, l.in, bytes.data());
  return floats(p.shape.dtype, bytes);
}

// y = g (x W^T + s (x A) B) + bias, g = m / |W + s (A B)^T| or 1; all sums in fp32, from the front to the back.
MlxOutputs plain(const MlxProblem& p) {
  const MlxProblem::Linear& l = p.linears[0];
  const std::int64_t n = p.shape.n, r = p.shape.rank;
  const std::vector<float> w = dense(p), x = floats(p.shape.dtype, p.x), dy = floats(p.shape.dtype, p.dy), bias = floats(p.shape.dtype, l.bias);
  MlxOutputs out(p);
  for (const auto& [name, values] : out.named())
    std::fill(const_cast<std::vector<float>*>(values)->begin(), const_cast<std::vector<float>*>(values)->end(), 0.0F);
  std::vector<float> norm(static_cast<std::size_t>(l.out), 1.0F), xa(static_cast<std::size_t>(n * r)), dvb(static_cast<std::size_t>(n * r));
  for (std::int64_t j = 0; p.shape.dora && j < l.out; ++j) {
    float square = 0;
    for (std::int64_t k = 0; k < l.in; ++k) {
      float entry = w[at(j, l.in, k)];
      for (std::int64_t q = 0; q < r; ++q) entry += l.scale * l.a[at(k, r, q)] * l.b[at(q, l.out, j)];
      square += entry * entry;
    }
    norm[static_cast<std::size_t>(j)] = std::sqrt(square);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t q = 0; q < r; ++q) {
      for (std::int64_t k = 0; k < l.in; ++k) xa[at(i, r, q)] += x[at(i, l.in, k)] * l.a[at(k, r, q)];
    }
    for (std::int64_t j = 0; j < l.out; ++j) {
      float v = 0, z = 0;
      for (std::int64_t k = 0; k < l.in; ++k) v += x[at(i, l.in, k)] * w[at(j, l.in, k)];
      for (std::int64_t q = 0; q < r; ++q) z += xa[at(i, r, q)] * l.b[at(q, l.out, j)];
      v += l.scale * z;
      const auto column = static_cast<std::size_t>(j);
      const float gain = p.shape.dora ? l.m[column] / norm[column] : 1.0F;
      out.y[at(i, l.out, j)] = gain * v + (p.shape.bias ? bias[column] : 0);
      const float d = dy[at(i, l.out, j)] * gain;
      if (p.shape.dora) out.linears[0].dm[column] += dy[at(i, l.out, j)] * v / norm[column];
      for (std::int64_t k = 0; k < l.in; ++k) out.dx[at(i, l.in, k)] += d * w[at(j, l.in, k)];
      for (std::int64_t q = 0; q < r; ++q) {
        dvb[at(i, r, q)] += d * l.b[at(q, l.out, j)];
        out.linears[0].db[at(q, l.out, j)] += l.scale * xa[at(i, r, q)] * d;
      }
    }
    for (std::int64_t k = 0; k < l.in; ++k) {
      for (std::int64_t q = 0; q < r; ++q) {
        out.dx[at(i, l.in, k)] += l.scale * dvb[at(i, r, q)] * l.a[at(k, r, q)];
        out.linears[0].da[at(k, r, q)] += l.scale * x[at(i, l.in, k)] * dvb[at(i, r, q)];
      }
    }
  }
  return out;
}

std::string difference(const MlxProblem& problem, const MlxOutputs& outputs) { return MlxExpectation(problem).difference(outputs).value_or(""); }

TEST(MlxProblems, PlainSumsPassEveryShape) {
  for (const bool dora : {false, true}) {
    for (const std::uint64_t seed : {1, 2, 3}) {
      for (const MlxProblemShape& shape : mlx_numerics_shapes(dora, seed)) {
        const MlxProblem problem(shape, seed);
        EXPECT_EQ(difference(problem, plain(problem)), "") << shape.name();
      }
    }
  }
}

TEST(MlxProblems, EveryOutputThatIsALittleOffIsFound) {
  for (const MlxProblemShape& shape : mlx_numerics_shapes(true, 4)) {
    if (shape.dtype != DType::kF32) continue;
    const MlxProblem problem(shape, 9);
    const MlxOutputs right = plain(problem);
    for (std::size_t i = 0; i < right.named().size(); ++i) {
      MlxOutputs wrong = right;
      auto& values = *const_cast<std::vector<float>*>(wrong.named()[i].second);
      const std::string name = right.named()[i].first;
      // One element, by a thousandth of the largest; with t terms its bound is 6 sqrt(t) eps of a magnitude that is below t times the largest.
      const auto largest = std::max_element(values.begin(), values.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
      if (*largest == 0.0F) continue;
      *largest *= 1.001F;
      EXPECT_THAT(difference(problem, wrong), HasSubstr(name + "[")) << shape.name();
      std::fill(values.begin(), values.end(), 0.0F);
      EXPECT_THAT(difference(problem, wrong), HasSubstr(name + "[")) << shape.name();
    }
  }
}

TEST(MlxProblems, InSixteenBitsZerosAndOtherScalesAreFound) {
  for (const MlxProblemShape& shape : mlx_numerics_shapes(true, 5)) {
    if (shape.dtype == DType::kF32) continue;
    const MlxProblem problem(shape, 9);
    const MlxOutputs right = plain(problem);
    for (std::size_t i = 0; i < right.named().size(); ++i) {
      for (const float factor : {0.0F, -1.0F, 2.0F}) {
        MlxOutputs wrong = right;
        for (float& value : *const_cast<std::vector<float>*>(wrong.named()[i].second)) value *= factor;
        EXPECT_THAT(difference(problem, wrong), HasSubstr(right.named()[i].first + ": its error")) << shape.name() << factor;
      }
    }
  }
}

TEST(MlxProblems, WhatWasNotWrittenIsFound) {
  const MlxProblem problem(mlx_numerics_shapes(true, 6).front(), 1);
  EXPECT_THAT(difference(problem, MlxOutputs(problem)), HasSubstr("y[0]: got nan"));
  MlxOutputs right = plain(problem);
  EXPECT_EQ(bit_difference(right, right), std::nullopt);
  MlxOutputs other = right;
  other.linears[0].db.back() = std::nextafter(other.linears[0].db.back(), 1e30F);
  EXPECT_THAT(bit_difference(right, other).value_or(""), HasSubstr("db of linear 0["));
  EXPECT_EQ(norm_difference(problem.shape, right, other), std::nullopt) << "rounding";
  EXPECT_NE(norm_difference(problem.shape, right, MlxOutputs(problem)), std::nullopt);
}

}  // namespace
}  // namespace evolora
