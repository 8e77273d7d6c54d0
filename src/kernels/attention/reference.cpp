// attention, plainly: one query at a time, all its scores in a row, sums in double. Quadratic work, linear memory.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/contract.h"

namespace evolora::reference {

namespace {

double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// Keys [first, end) that query i of the segment sees.
struct KeyRange {
  std::int64_t first;
  std::int64_t end;
};
KeyRange visible_keys(const AttentionSegment& s, std::int64_t i, std::int64_t window) {
  const std::int64_t end = i + 1 + s.kv_length - s.q_length;
  return {window == 0 ? 0 : std::max<std::int64_t>(0, end - window), end};
}

void forward_query(const AttentionForward& args, const AttentionSegment& s, std::int64_t i, std::int64_t head) {
  const std::int64_t c = args.head_dim;
  const std::int64_t kv_head = head / (args.heads / args.kv_heads);
  const KeyRange keys = visible_keys(s, i, args.window);
  const float* q = args.q + ((s.q_start + i) * args.heads + head) * c;
  const auto key_row = [&](const float* base, std::int64_t j) { return base + ((s.kv_start + j) * args.kv_heads + kv_head) * c; };
  std::vector<double> p;
  for (std::int64_t j = keys.first; j < keys.end; ++j) p.push_back(static_cast<double>(args.scale) * dot(q, key_row(args.k, j), c));
  const double largest = *std::max_element(p.begin(), p.end());
  double total = 0;
  for (double& value : p) total += value = std::exp(value - largest);
  std::vector<double> out(static_cast<std::size_t>(c));
  for (std::int64_t j = keys.first; j < keys.end; ++j) {
    const float* v = key_row(args.v, j);
    for (std::int64_t e = 0; e < c; ++e) out[static_cast<std::size_t>(e)] += p[static_cast<std::size_t>(j - keys.first)] / total * v[e];
  }
  float* row = args.out + ((s.q_start + i) * args.heads + head) * c;
  for (std::int64_t e = 0; e < c; ++e) row[e] = static_cast<float>(out[static_cast<std::size_t>(e)]);
  if (args.lse != nullptr) args.lse[(s.q_start + i) * args.heads + head] = static_cast<float>(largest + std::log(total));
}

struct KeyGradients {
  std::vector<double> dk;  // (kv_length, C) of one segment and kv head
  std::vector<double> dv;
};

void backward_query(const AttentionBackward& args, const AttentionSegment& s, std::int64_t i, std::int64_t head, KeyGradients& gradients) {
  const std::int64_t c = args.head_dim;
  const std::int64_t kv_head = head / (args.heads / args.kv_heads);
  const std::int64_t at = ((s.q_start + i) * args.heads + head) * c;
  const float* dout = args.dout + at;
  const auto key_row = [&](const float* base, std::int64_t j) { return base + ((s.kv_start + j) * args.kv_heads + kv_head) * c; };
  const double delta = dot(dout, args.out + at, c);
  std::vector<double> dq(static_cast<std::size_t>(c));
  const KeyRange keys = visible_keys(s, i, args.window);
  for (std::int64_t j = keys.first; j < keys.end; ++j) {
    const float* k = key_row(args.k, j);
    const double score = static_cast<double>(args.scale) * dot(args.q + at, k, c);
    const double p = std::exp(score - args.lse[(s.q_start + i) * args.heads + head]);
    const double ds = static_cast<double>(args.scale) * p * (dot(dout, key_row(args.v, j), c) - delta);
    for (std::int64_t e = 0; e < c; ++e) {
      dq[static_cast<std::size_t>(e)] += ds * k[e];
      gradients.dk[static_cast<std::size_t>(j * c + e)] += ds * args.q[at + e];
      gradients.dv[static_cast<std::size_t>(j * c + e)] += p * dout[e];
    }
  }
  for (std::int64_t e = 0; e < c; ++e) args.dq[at + e] = static_cast<float>(dq[static_cast<std::size_t>(e)]);
}

}  // namespace

void attention_forward(const AttentionForward& args, KernelContext&) {
  for (const AttentionSegment& s : args.segments) {
    for (std::int64_t i = 0; i < s.q_length; ++i) {
      for (std::int64_t head = 0; head < args.heads; ++head) forward_query(args, s, i, head);
    }
  }
}

void attention_backward(const AttentionBackward& args, KernelContext&) {
  const std::int64_t group = args.heads / args.kv_heads;
  for (const AttentionSegment& s : args.segments) {
    for (std::int64_t kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
      const auto size = static_cast<std::size_t>(s.kv_length * args.head_dim);
      KeyGradients gradients{std::vector<double>(size), std::vector<double>(size)};
      for (std::int64_t i = 0; i < s.q_length; ++i) {
        for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) backward_query(args, s, i, head, gradients);
      }
      for (std::int64_t j = 0; j < s.kv_length; ++j) {
        for (std::int64_t e = 0; e < args.head_dim; ++e) {
          const std::int64_t to = ((s.kv_start + j) * args.kv_heads + kv_head) * args.head_dim + e;
          args.dk[to] = static_cast<float>(gradients.dk[static_cast<std::size_t>(j * args.head_dim + e)]);
          args.dv[to] = static_cast<float>(gradients.dv[static_cast<std::size_t>(j * args.head_dim + e)]);
        }
      }
    }
  }
}

}  // namespace evolora::reference
