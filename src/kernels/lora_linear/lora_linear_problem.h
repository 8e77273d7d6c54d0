// A lora_linear call with random data for tests and benchmarks: every weight kind, exact-size allocations, and its twin with absolute values.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel_test_support.h"
#include "kernels/lora_linear/contract.h"

namespace evolora::testing_support {

struct WeightKind {
  int bits = 0;
  int group_size = 0;
  DType dtype = DType::kF32;
  std::string name() const {
    const std::string type(dtype_name(dtype));
    return bits == 0 ? "dense " + type : std::to_string(bits) + " bits, group " + std::to_string(group_size) + ", " + type;
  }
};

inline std::vector<WeightKind> all_weight_kinds() {
  std::vector<WeightKind> kinds;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    kinds.push_back({0, 0, dtype});
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      for (const int group : {32, 64, 128}) kinds.push_back({bits, group, dtype});
    }
  }
  return kinds;
}

// Owns what a WeightView shows. Allocations end where the arrays end, so that a sanitizer sees any step outside, and the arrays begin at odd
// addresses.
class StoredWeight {
 public:
  StoredWeight(const WeightKind& kind, std::int64_t out, std::int64_t in, std::uint32_t seed) {
    std::mt19937 generator(seed);
    view_ = {.out = out, .in = in, .bits = kind.bits, .group_size = kind.group_size, .dtype = kind.dtype};
    const auto size = static_cast<std::int64_t>(dtype_size_bytes(kind.dtype));
    if (kind.bits == 0) {
      data_.resize(kShift + static_cast<std::size_t>(out * in * size));
      fill(data_, generator, 0.1f);
    } else {
      data_.resize(kShift + static_cast<std::size_t>(out * in * kind.bits / 8));
      for (std::byte& byte : data_) byte = static_cast<std::byte>(generator());
      scales_.resize(kShift + static_cast<std::size_t>(out * (in / kind.group_size) * size));
      biases_.resize(scales_.size());
      fill(scales_, generator, 0.02f);
      fill(biases_, generator, 0.1f);
    }
    show();
  }
  StoredWeight(const StoredWeight& other) : view_(other.view_), data_(other.data_), scales_(other.scales_), biases_(other.biases_) { show(); }
  StoredWeight& operator=(const StoredWeight&) = delete;

  const WeightView& view() const { return view_; }

  // |scale| q + |bias|, or |w|: what the rounding errors of a sum with this weight are proportional to.
  StoredWeight absolute() const {
    StoredWeight result(*this);
    for (std::vector<std::byte>* array : {&result.scales_, &result.biases_}) take_absolute(*array);
    if (!view_.quantized()) take_absolute(result.data_);
    return result;
  }

 private:
  static constexpr std::size_t kShift = 1;
  std::size_t count(const std::vector<std::byte>& array) const { return array.empty() ? 0 : (array.size() - kShift) / dtype_size_bytes(view_.dtype); }
  void show() {
    view_.data = data_.data() + kShift;
    view_.scales = scales_.empty() ? nullptr : scales_.data() + kShift;
    view_.biases = biases_.empty() ? nullptr : biases_.data() + kShift;
  }
  void fill(std::vector<std::byte>& array, std::mt19937& generator, float scale) const {
    std::normal_distribution<float> normal(0.0f, scale);
    for (std::size_t i = 0; i < count(array); ++i) store_float(view_.dtype, array.data() + kShift, i, normal(generator));
  }
  void take_absolute(std::vector<std::byte>& array) const {
    for (std::size_t i = 0; i < count(array); ++i) {
      std::byte* at = array.data() + kShift;
      store_float(view_.dtype, at, i, std::abs(load_float(view_.dtype, at, i)));
    }
  }
  WeightView view_;
  std::vector<std::byte> data_, scales_, biases_;
};

struct ProjectionShape {
  std::int64_t out;
  std::int64_t rank;
  float dropout = 0;
  bool bias = false;
};

struct ProblemShape {
  WeightKind kind;
  std::int64_t n;
  std::int64_t in;
  std::vector<ProjectionShape> projections;
  std::string name() const {
    std::string text = kind.name() + ", n " + std::to_string(n) + ", in " + std::to_string(in);
    for (const ProjectionShape& p : projections) {
      text += ", [out " + std::to_string(p.out) + " rank " + std::to_string(p.rank) + (p.dropout > 0 ? " dropout" : "") + (p.bias ? " bias]" : "]");
    }
    return text;
  }
};

inline std::size_t count_of(std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); }

// Inputs of a call. Outputs belong to Outputs, so that one problem can be solved many times.
struct Problem {
  struct Projection {
    StoredWeight weight;
    Buffer bias, a, b, dy, da, db;  // da, db: what the gradients start from
    float scale;
  };
  explicit Problem(const ProblemShape& problem_shape, std::uint32_t seed = 1)
      : shape(problem_shape), x(random_buffer(count_of(problem_shape.n, problem_shape.in), seed)) {
    for (const ProjectionShape& p : shape.projections) {
      seed += 10;
      projections.push_back({StoredWeight(shape.kind, p.out, shape.in, seed), random_buffer(count_of(p.out, 1), seed + 1),
                             random_buffer(count_of(shape.in, p.rank), seed + 2, 0.1f), random_buffer(count_of(p.rank, p.out), seed + 3),
                             random_buffer(count_of(shape.n, p.out), seed + 4), random_buffer(count_of(shape.in, p.rank), seed + 5),
                             random_buffer(count_of(p.rank, p.out), seed + 6), -1.75f});
    }
  }
  Problem absolute() const {
    Problem result(shape, x);
    for (const Projection& p : projections) {
      result.projections.push_back({p.weight.absolute(), magnitude(p.bias), magnitude(p.a), magnitude(p.b), magnitude(p.dy), magnitude(p.da),
                                    magnitude(p.db), std::abs(p.scale)});
    }
    return result;
  }

  ProblemShape shape;
  Buffer x;
  std::vector<Projection> projections;

 private:
  Problem(const ProblemShape& problem_shape, const Buffer& values) : shape(problem_shape), x(magnitude(values)) {}
  static Buffer magnitude(const Buffer& values) {
    Buffer result = copy_of(values);
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = std::abs(result[i]);
    return result;
  }
};

struct Outputs {
  struct Projection {
    Buffer xa, y, da, db;
  };
  explicit Outputs(const Problem& problem) : dx(count_of(problem.shape.n, problem.shape.in)) {
    for (std::size_t i = 0; i < problem.projections.size(); ++i) {
      const ProjectionShape& p = problem.shape.projections[i];
      projections.push_back({Buffer(count_of(problem.shape.n, p.rank)), Buffer(count_of(problem.shape.n, p.out)), copy_of(problem.projections[i].da),
                             copy_of(problem.projections[i].db)});
    }
  }
  // The projections of a call that reads problem and writes here.
  std::vector<LoraProjection> bind(const Problem& problem) {
    std::vector<LoraProjection> bound;
    for (std::size_t i = 0; i < projections.size(); ++i) {
      const ProjectionShape& shape = problem.shape.projections[i];
      const Problem::Projection& in = problem.projections[i];
      LoraProjection p{.weight = in.weight.view(), .bias = shape.bias ? in.bias.data() : nullptr, .y = projections[i].y.data(), .dy = in.dy.data()};
      if (shape.rank > 0) {
        p.a = in.a.data();
        p.b = in.b.data();
        p.rank = shape.rank;
        p.scale = in.scale;
        p.dropout = shape.dropout;
        p.dropout_key = 77 + i;
        p.xa = projections[i].xa.data();
        p.da = projections[i].da.data();
        p.db = projections[i].db.data();
      }
      bound.push_back(p);
    }
    return bound;
  }
  Buffer dx;
  std::vector<Projection> projections;
};

}  // namespace evolora::testing_support
