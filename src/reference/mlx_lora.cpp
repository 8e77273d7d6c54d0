// Forward and backward of the adapted linears.
#include "reference/mlx_lora.h"

#include <mlx/linalg.h>
#include <mlx/random.h>

#include "base/check.h"

namespace evolora {
namespace {

using Arrays = std::vector<mx::array>;

mx::array scaled(float factor, const mx::array& values) { return mx::multiply(mx::array(factor, values.dtype()), values); }

mx::array drop(const mx::array& x, float p, const mx::array* key) {
  if (p == 0.0F || key == nullptr) return x;
  const float keep = 1.0F - p;
  const mx::array mask = mx::random::bernoulli(keep, x.shape(), *key);
  return scaled(1.0F / keep, mx::multiply(mask, x));
}

mx::array standard_dora(const mx::array& x, const MlxLinear& layer, const MlxAdapter& adapter, const mx::array& dropped) {
  const mx::array w = dense_weight(layer.weight);
  const mx::array y = mx::matmul(x, mx::transpose(w));
  const mx::array z = mx::matmul(mx::matmul(dropped, adapter.a), adapter.b);
  mx::array out = mx::add(y, mx::astype(scaled(adapter.scale, z), x.dtype()));
  const mx::array adapted = mx::add(w, mx::matmul(scaled(adapter.scale, mx::transpose(adapter.b)), mx::transpose(adapter.a)));
  const mx::array norm = mx::stop_gradient(mx::linalg::norm(adapted, std::vector<int>{1}));
  out = mx::multiply(mx::astype(mx::divide(*adapter.m, norm), x.dtype()), out);
  return layer.bias ? mx::add(out, *layer.bias) : out;
}

mx::array rows_of(const mx::array& x) { return mx::reshape(x, {-1, x.shape(-1)}); }

mx::array columns(const mx::array& x, mx::ShapeElem begin, mx::ShapeElem end) {
  mx::Shape start(x.ndim(), 0);
  mx::Shape stop = x.shape();
  start[x.ndim() - 1] = begin;
  stop[x.ndim() - 1] = end;
  return mx::slice(x, start, stop);
}

// The arithmetic of one optimized call. Its arrays travel as a flat list: a of every member, b of every member, and for DoRA m and the row norm of
// every member.
class GroupCall {
 public:
  GroupCall(const MlxLinearGroup& group, const std::vector<MlxAdapter>& adapters) : group_(group), members_(group.out.size()) {
    CHECK(adapters.empty() || adapters.size() == members_);
    adapted_ = !adapters.empty();
    dora_ = adapted_ && adapters.front().m.has_value();
    for (const MlxAdapter& adapter : adapters) {
      scales_.push_back(adapter.scale);
      ranks_.push_back(adapter.a.shape(1));
    }
  }

  Arrays inputs(const std::vector<MlxAdapter>& adapters, mx::Dtype dtype) const {
    Arrays flat;
    for (const MlxAdapter& adapter : adapters) flat.push_back(adapter.a);
    for (const MlxAdapter& adapter : adapters) flat.push_back(adapter.b);
    if (!dora_) return flat;
    for (const MlxAdapter& adapter : adapters) flat.push_back(*adapter.m);
    mx::ShapeElem row = 0;
    for (std::size_t i = 0; i < members_; ++i) {
      flat.push_back(mx::stop_gradient(factored_row_norms(member_weight(i, row), member_norms(i, row), adapters[i], dtype)));
      row += mlx_dim(group_.out[i]);
    }
    return flat;
  }

  // -> the output of each member without bias, then x A of all (absent without adapters).
  Arrays forward(const mx::array& x, const Arrays& flat) const {
    const mx::array base = times_transposed(x, group_.weight);
    if (!adapted_) return split(base);
    const mx::array xa = mx::matmul(x, all_a(flat, x.dtype()));
    const Arrays parts = split(base);
    Arrays out;
    mx::ShapeElem rank = 0;
    for (std::size_t i = 0; i < members_; ++i) {
      const mx::array mine = members_ == 1 ? xa : columns(xa, rank, rank + ranks_[i]);
      rank += ranks_[i];
      mx::array y = mx::addmm(parts[i], mine, mx::astype(b(flat, i), x.dtype()), scales_[i], 1.0F);
      if (dora_) y = mx::multiply(y, gain(flat, i, x.dtype()));
      out.push_back(y);
    }
    out.push_back(xa);
    return out;
  }

  struct Gradients {
    mx::array dx;
    Arrays flat;
  };

  // dy: of each member's output without bias; outputs: what forward gave.
  Gradients backward(const mx::array& x, const Arrays& flat, const Arrays& dy, const Arrays& outputs) const {
    const mx::Dtype dtype = x.dtype();
    if (!adapted_) return {mx::reshape(times(joined(dy), group_.weight), x.shape()), {}};
    const mx::array xa = rows_of(outputs.back());
    Arrays dv;  // of W x + scale * B^T (A^T x)
    Arrays dm;
    Arrays db;
    Arrays dxa;
    mx::ShapeElem rank = 0;
    for (std::size_t i = 0; i < members_; ++i) {
      mx::array d = rows_of(dy[i]);
      if (dora_) {
        dm.push_back(magnitude_gradient(flat, i, d, rows_of(outputs[i])));
        d = mx::multiply(d, gain(flat, i, dtype));
      }
      const mx::array mine = members_ == 1 ? xa : columns(xa, rank, rank + ranks_[i]);
      rank += ranks_[i];
      db.push_back(scaled(scales_[i], mx::astype(mx::matmul(mx::transpose(mine), d), mx::float32)));
      dxa.push_back(scaled(scales_[i], mx::matmul(d, mx::transpose(mx::astype(b(flat, i), dtype)))));
      dv.push_back(d);
    }
    const mx::array all_dxa = members_ == 1 ? dxa[0] : mx::concatenate(dxa, 1);
    const mx::array da = mx::astype(mx::matmul(mx::transpose(rows_of(x)), all_dxa), mx::float32);
    const mx::array dx = mx::addmm(times(joined(dv), group_.weight), all_dxa, mx::transpose(all_a(flat, dtype)));
    Gradients out{mx::reshape(dx, x.shape()), {}};
    rank = 0;
    for (const mx::ShapeElem r : ranks_) {
      out.flat.push_back(members_ == 1 ? da : columns(da, rank, rank + r));
      rank += r;
    }
    out.flat.insert(out.flat.end(), db.begin(), db.end());
    out.flat.insert(out.flat.end(), dm.begin(), dm.end());
    if (dora_) {
      for (std::size_t i = 0; i < members_; ++i) out.flat.push_back(mx::zeros_like(norm(flat, i)));
    }
    return out;
  }

  Arrays with_biases(const Arrays& outputs) const {
    Arrays out;
    for (std::size_t i = 0; i < members_; ++i) out.push_back(group_.biases[i] ? mx::add(outputs[i], *group_.biases[i]) : outputs[i]);
    return out;
  }

 private:
  const mx::array& b(const Arrays& flat, std::size_t i) const { return flat[members_ + i]; }
  const mx::array& m(const Arrays& flat, std::size_t i) const { return flat[2 * members_ + i]; }
  const mx::array& norm(const Arrays& flat, std::size_t i) const { return flat[3 * members_ + i]; }
  mx::array gain(const Arrays& flat, std::size_t i, mx::Dtype dtype) const { return mx::astype(mx::divide(m(flat, i), norm(flat, i)), dtype); }

  mx::array all_a(const Arrays& flat, mx::Dtype dtype) const {
    if (members_ == 1) return mx::astype(flat[0], dtype);
    return mx::astype(mx::concatenate(Arrays(flat.begin(), flat.begin() + static_cast<std::ptrdiff_t>(members_)), 1), dtype);
  }

  // y = m / norm * v, so dm = sum(dy * v) / norm = sum(dy * y) / m: y serves, and v need not be saved. A row whose m became exactly 0 gets no
  // gradient.
  mx::array magnitude_gradient(const Arrays& flat, std::size_t i, const mx::array& dy, const mx::array& y) const {
    const mx::array sum = mx::sum(mx::astype(mx::multiply(dy, y), mx::float32), 0);
    const mx::array zero = mx::zeros_like(sum);
    return mx::where(mx::equal(m(flat, i), zero), zero, mx::divide(sum, m(flat, i)));
  }

  Arrays split(const mx::array& all) const {
    if (members_ == 1) return {all};
    Arrays parts;
    mx::ShapeElem begin = 0;
    for (const std::int64_t size : group_.out) {
      parts.push_back(columns(all, begin, begin + mlx_dim(size)));
      begin += mlx_dim(size);
    }
    return parts;
  }

  mx::array joined(const Arrays& parts) const {
    if (members_ == 1) return rows_of(parts[0]);
    Arrays rows;
    for (std::size_t i = 0; i < members_; ++i) rows.push_back(rows_of(parts[i]));
    return mx::concatenate(rows, 1);
  }

  MlxWeight member_weight(std::size_t i, mx::ShapeElem row) const {
    if (members_ == 1) return group_.weight;
    MlxWeight part = group_.weight;
    part.out = group_.out[i];
    const auto take = [&](const mx::array& all) { return mx::slice(all, {row, 0}, {row + mlx_dim(part.out), all.shape(1)}); };
    part.data = take(part.data);
    if (part.quantized()) {
      part.scales = take(*part.scales);
      part.biases = take(*part.biases);
    }
    return part;
  }

  mx::array member_norms(std::size_t i, mx::ShapeElem row) const {
    CHECK(group_.squared_row_norms.has_value());
    if (members_ == 1) return *group_.squared_row_norms;
    return mx::slice(*group_.squared_row_norms, {row}, {row + mlx_dim(group_.out[i])});
  }

  MlxLinearGroup group_;  // arrays are handles: MLX may call the backward pass after the caller is gone
  std::size_t members_;
  bool adapted_ = false;
  bool dora_ = false;
  std::vector<float> scales_;
  std::vector<mx::ShapeElem> ranks_;
};

// Everything after the first `skip` arrays.
Arrays tail(const Arrays& all, std::size_t skip) { return Arrays(all.begin() + static_cast<std::ptrdiff_t>(skip), all.end()); }

}  // namespace

mx::array adapted_linear(const mx::array& x, const MlxLinear& layer, const MlxAdapter& adapter, float dropout, const mx::array* dropout_key) {
  const mx::array dropped = drop(x, dropout, dropout_key);
  if (adapter.m) return standard_dora(x, layer, adapter, dropped);
  const mx::array y = linear(x, layer);
  const mx::array z = mx::matmul(mx::matmul(dropped, adapter.a), adapter.b);
  return mx::add(y, mx::astype(scaled(adapter.scale, z), x.dtype()));
}

MlxLinearGroup make_group(const std::vector<MlxLinear>& linears, bool with_norms) {
  MlxLinearGroup group{.weight = linears.front().weight, .out = {}, .biases = {}, .squared_row_norms = {}};
  std::vector<MlxWeight> weights;
  for (const MlxLinear& layer : linears) {
    weights.push_back(layer.weight);
    group.out.push_back(layer.weight.out);
    group.biases.push_back(layer.bias);
  }
  if (weights.size() > 1) group.weight = concatenated(weights);
  if (with_norms) {
    group.squared_row_norms = mx::sum(mx::square(mx::astype(dense_weight(group.weight), mx::float32)), 1);
    group.squared_row_norms->eval();
  }
  return group;
}

mx::array factored_row_norms(const MlxWeight& weight, const mx::array& squared_row_norms, const MlxAdapter& adapter, mx::Dtype dtype) {
  const mx::array a = mx::stop_gradient(adapter.a);
  const mx::array b = mx::stop_gradient(adapter.b);
  const mx::array wa = mx::astype(times_transposed(mx::astype(mx::transpose(a), dtype), weight), mx::float32);  // (r, out)
  const mx::array aab = mx::matmul(mx::matmul(mx::transpose(a), a), b);                                         // (r, out)
  const mx::array cross = scaled(2.0F * adapter.scale, mx::sum(mx::multiply(b, wa), 0));
  const mx::array square = scaled(adapter.scale * adapter.scale, mx::sum(mx::multiply(b, aab), 0));
  const mx::array norms = mx::add(squared_row_norms, mx::add(cross, square));
  return mx::sqrt(mx::maximum(norms, mx::zeros_like(norms)));
}

std::vector<mx::array> grouped_linear(const mx::array& x, const MlxLinearGroup& group, const std::vector<MlxAdapter>& adapters,
                                      const std::function<void()>& on_backward) {
  const GroupCall call(group, adapters);
  const auto forward = [call](const Arrays& in) { return call.forward(in[0], tail(in, 1)); };
  const auto backward = [call, on_backward](const Arrays& in, const Arrays& cotangents, const Arrays& outputs) {
    on_backward();
    GroupCall::Gradients gradients = call.backward(in[0], tail(in, 1), cotangents, outputs);
    gradients.flat.insert(gradients.flat.begin(), gradients.dx);
    return gradients.flat;
  };
  Arrays inputs = call.inputs(adapters, x.dtype());
  inputs.insert(inputs.begin(), x);
  return call.with_biases(mx::custom_vjp(forward, backward)(inputs));
}

mx::array swiglu(const mx::array& gate, const mx::array& up) { return mx::multiply(mx::multiply(gate, mx::sigmoid(gate)), up); }

mx::array swiglu_down(const mx::array& gate, const mx::array& up, const MlxLinearGroup& group, const std::vector<MlxAdapter>& adapters,
                      const std::function<void()>& on_backward) {
  CHECK(group.out.size() == 1);
  const GroupCall call(group, adapters);
  const auto forward = [call](const Arrays& in) { return call.forward(swiglu(in[0], in[1]), tail(in, 2)); };
  const auto backward = [call, on_backward](const Arrays& in, const Arrays& cotangents, const Arrays& outputs) {
    on_backward();
    // Tied to the gradient that arrives: otherwise MLX may compute the product early, and a compiled step finds it equal to the forward pass's and
    // keeps that one.
    const Arrays later = mx::depends({in[0], in[1]}, {cotangents[0]});
    const mx::array& g = later[0];
    const mx::array& u = later[1];
    const GroupCall::Gradients gradients = call.backward(swiglu(g, u), tail(in, 2), cotangents, outputs);
    const mx::array s = mx::sigmoid(g);
    const mx::array one = mx::array(1.0F, g.dtype());
    // d silu(g) / dg = s * (1 + g * (1 - s))
    const mx::array slope = mx::multiply(s, mx::add(one, mx::multiply(g, mx::subtract(one, s))));
    Arrays all = {mx::multiply(gradients.dx, mx::multiply(u, slope)), mx::multiply(gradients.dx, mx::multiply(g, s))};
    all.insert(all.end(), gradients.flat.begin(), gradients.flat.end());
    return all;
  };
  Arrays inputs = call.inputs(adapters, gate.dtype());
  inputs.insert(inputs.begin(), {gate, up});
  return call.with_biases(mx::custom_vjp(forward, backward)(inputs))[0];
}

}  // namespace evolora
