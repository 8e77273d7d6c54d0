// Attention in fp64 for the tests: exact outputs and gradients, and for every element the error that fp32 arithmetic may make, derived from the
// inputs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/attention/contract.h"
#include "kernels/kernel_test_support.h"

namespace evolora::testing_support {

struct AttentionShape {
  std::vector<AttentionSegment> segments;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t window = 0;
  std::int64_t q_rows() const {
    std::int64_t n = 0;
    for (const AttentionSegment& s : segments) n = std::max(n, s.q_start + s.q_length);
    return n;
  }
  std::int64_t kv_rows() const {
    std::int64_t n = 0;
    for (const AttentionSegment& s : segments) n = std::max(n, s.kv_start + s.kv_length);
    return n;
  }
  std::size_t q_size() const { return static_cast<std::size_t>(q_rows() * heads * head_dim); }
  std::size_t kv_size() const { return static_cast<std::size_t>(kv_rows() * kv_heads * head_dim); }
  std::size_t lse_size() const { return static_cast<std::size_t>(q_rows() * heads); }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }
  // Query i of segment s sees key j; each written for itself, as mlx-lm's create_causal_mask has it.
  bool sees(const AttentionSegment& s, std::int64_t i, std::int64_t j) const {
    const std::int64_t position = i + s.kv_length - s.q_length;
    return position >= j && (window == 0 || position < j + window);
  }
};

inline AttentionShape training_shape(const std::vector<std::int64_t>& lengths, std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim,
                                     std::int64_t window = 0) {
  AttentionShape shape{{}, heads, kv_heads, head_dim};
  shape.window = window;
  std::int64_t start = 0;
  for (const std::int64_t length : lengths) {
    shape.segments.push_back({start, length, start, length});
    start += length;
  }
  return shape;
}

struct Values {
  std::vector<double> value;
  std::vector<double> bound;
  explicit Values(std::size_t size) : value(size), bound(size) {}
};

struct ExactForward {
  Values out;
  Values lse;
};

struct ExactBackward {
  Values dq;
  Values dk;
  Values dv;
};

// One query's scores of the keys it sees: exact, and sums of magnitudes, which bound their rounding.
struct Scores {
  std::vector<std::int64_t> key;
  std::vector<double> score;
  std::vector<double> magnitude;
};

inline Scores scores_of(const AttentionShape& shape, const AttentionSegment& s, std::int64_t i, std::int64_t head, const double* q, const double* k) {
  const std::int64_t c = shape.head_dim;
  const std::int64_t g = head / (shape.heads / shape.kv_heads);
  Scores scores;
  for (std::int64_t j = 0; j < s.kv_length; ++j) {
    if (!shape.sees(s, i, j)) continue;
    double sum = 0;
    double magnitude = 0;
    for (std::int64_t e = 0; e < c; ++e) {
      const double term = q[((s.q_start + i) * shape.heads + head) * c + e] * k[((s.kv_start + j) * shape.kv_heads + g) * c + e];
      sum += term;
      magnitude += std::abs(term);
    }
    scores.key.push_back(j);
    scores.score.push_back(sum * static_cast<double>(shape.scale()));
    scores.magnitude.push_back(magnitude * static_cast<double>(shape.scale()));
  }
  return scores;
}

inline std::vector<double> widened(const Buffer& x) { return {x.data(), x.data() + x.size()}; }

// A score of C terms has an error of (C + 5) eps times its magnitude (scale and log2 e cost three roundings); the difference to the maximum rounds
// once more; exp costs 2 ulp = 4 eps; each block of 64 keys rescales what came before (exp, product: 5 eps); sums of n terms n eps. Numerator and
// denominator each.
inline ExactForward exact_forward(const AttentionShape& shape, const std::vector<double>& q, const std::vector<double>& k,
                                  const std::vector<double>& v) {
  ExactForward exact{Values(shape.q_size()), Values(shape.lse_size())};
  const std::int64_t c = shape.head_dim;
  for (const AttentionSegment& s : shape.segments) {
    for (std::int64_t i = 0; i < s.q_length; ++i) {
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const Scores row = scores_of(shape, s, i, head, q.data(), k.data());
        const std::int64_t g = head / (shape.heads / shape.kv_heads);
        const double largest = *std::max_element(row.score.begin(), row.score.end());
        const double magnitude = *std::max_element(row.magnitude.begin(), row.magnitude.end());
        const auto n = static_cast<double>(row.score.size());
        double total = 0;
        for (const double score : row.score) total += std::exp(score - largest);
        const double relative = ((static_cast<double>(c) + 7) * magnitude + 5 * (n / 64 + 2) + n) * kEps;
        const auto lse_at = static_cast<std::size_t>((s.q_start + i) * shape.heads + head);
        exact.lse.value[lse_at] = largest + std::log(total);
        exact.lse.bound[lse_at] = relative + 4 * kEps * (std::abs(exact.lse.value[lse_at]) + std::abs(largest));
        for (std::int64_t e = 0; e < c; ++e) {
          double out = 0;
          double out_magnitude = 0;
          for (std::size_t j = 0; j < row.score.size(); ++j) {
            const double term =
                std::exp(row.score[j] - largest) / total * v[static_cast<std::size_t>(((s.kv_start + row.key[j]) * shape.kv_heads + g) * c + e)];
            out += term;
            out_magnitude += std::abs(term);
          }
          exact.out.value[lse_at * static_cast<std::size_t>(c) + static_cast<std::size_t>(e)] = out;
          exact.out.bound[lse_at * static_cast<std::size_t>(c) + static_cast<std::size_t>(e)] = (2 * relative + 4 * kEps) * out_magnitude;
        }
      }
    }
  }
  return exact;
}

// Gradients for given (rounded) out and lse, which are inputs of backward. Errors: p as above with lse's own rounding (|lse| eps); dp and delta C + 1
// roundings each; ds their difference times p; then sums of n (keys, or queries times group) terms.
inline ExactBackward exact_backward(const AttentionShape& shape, const std::vector<double>& q, const std::vector<double>& k,
                                    const std::vector<double>& v, const std::vector<double>& out, const std::vector<double>& lse,
                                    const std::vector<double>& dout) {
  ExactBackward exact{Values(shape.q_size()), Values(shape.kv_size()), Values(shape.kv_size())};
  const std::int64_t c = shape.head_dim;
  const auto scale = static_cast<double>(shape.scale());
  for (const AttentionSegment& s : shape.segments) {
    for (std::int64_t i = 0; i < s.q_length; ++i) {
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const Scores row = scores_of(shape, s, i, head, q.data(), k.data());
        const std::int64_t g = head / (shape.heads / shape.kv_heads);
        const auto lse_at = static_cast<std::size_t>((s.q_start + i) * shape.heads + head);
        const std::size_t at = lse_at * static_cast<std::size_t>(c);
        double delta = 0;
        double delta_magnitude = 0;
        for (std::size_t e = 0; e < static_cast<std::size_t>(c); ++e) {
          delta += dout[at + e] * out[at + e];
          delta_magnitude += std::abs(dout[at + e] * out[at + e]);
        }
        const double terms = static_cast<double>(s.q_length * (shape.heads / shape.kv_heads)) + 8;
        const double dots = static_cast<double>(c) + 2;
        for (std::size_t j = 0; j < row.score.size(); ++j) {
          const auto kv_at = static_cast<std::size_t>(((s.kv_start + row.key[j]) * shape.kv_heads + g) * c);
          double dp = 0;
          double dp_magnitude = 0;
          for (std::size_t e = 0; e < static_cast<std::size_t>(c); ++e) {
            dp += dout[at + e] * v[kv_at + e];
            dp_magnitude += std::abs(dout[at + e] * v[kv_at + e]);
          }
          const double p = std::exp(row.score[j] - lse[lse_at]);
          const double p_error = p * kEps * ((static_cast<double>(c) + 6) * row.magnitude[j] + 3 * std::abs(lse[lse_at]) + 5);
          const double ds = scale * p * (dp - delta);
          const double ds_error =
              scale * (p_error * std::abs(dp - delta) + p * kEps * (dots * (dp_magnitude + delta_magnitude) + 3 * std::abs(dp - delta)));
          for (std::size_t e = 0; e < static_cast<std::size_t>(c); ++e) {
            exact.dq.value[at + e] += ds * k[kv_at + e];
            exact.dq.bound[at + e] += (ds_error + std::abs(ds) * kEps * (static_cast<double>(row.score.size()) + 4)) * std::abs(k[kv_at + e]);
            exact.dk.value[kv_at + e] += ds * q[at + e];
            exact.dk.bound[kv_at + e] += (ds_error + std::abs(ds) * kEps * terms) * std::abs(q[at + e]);
            exact.dv.value[kv_at + e] += p * dout[at + e];
            exact.dv.bound[kv_at + e] += (p_error + p * kEps * terms) * std::abs(dout[at + e]);
          }
        }
      }
    }
  }
  return exact;
}

}  // namespace evolora::testing_support
