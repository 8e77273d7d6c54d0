// attention, reference and SIMD, against fp64 with derived error bounds: odd shapes, packed segments, grouped heads, decoding; gradients also against
// fp64 finite differences of the forward pass.
#include "kernels/attention/attention_test_support.h"

namespace evolora {
namespace {

using namespace testing_support;

std::string describe(const AttentionShape& shape) {
  std::string text =
      "heads " + std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) + " x " + std::to_string(shape.head_dim) + ", segments";
  if (shape.window > 0) text = "window " + std::to_string(shape.window) + ", " + text;
  for (const AttentionSegment& s : shape.segments) text += " " + std::to_string(s.q_length) + ":" + std::to_string(s.kv_length);
  return text;
}

std::vector<AttentionShape> training_shapes() {
  return {training_shape({1}, 1, 1, 1),          training_shape({1, 1, 2}, 2, 1, 3),     training_shape({5, 3}, 4, 2, 5),
          training_shape({65}, 3, 3, 16),        training_shape({40, 1, 23}, 14, 2, 64), training_shape({130}, 14, 2, 64),
          training_shape({33, 64, 7}, 9, 3, 64), training_shape({17, 50}, 2, 1, 33),     training_shape({70}, 2, 2, 80),
          training_shape({29}, 4, 1, 128),       training_shape({31, 2}, 2, 1, 256),     training_shape({200, 9, 9, 9}, 2, 1, 20),
          training_shape({530}, 3, 1, 64)};
}

// Decoding: one or few new queries over a longer cache, caches anywhere in the buffer.
std::vector<AttentionShape> decoding_shapes() {
  return {{{{0, 1, 0, 1}}, 14, 2, 64},
          {{{0, 1, 3, 200}}, 14, 2, 64},
          {{{0, 1, 100, 64}, {1, 1, 0, 65}, {2, 3, 200, 130}}, 9, 3, 64},
          {{{0, 20, 0, 90}}, 4, 4, 40},
          {{{2, 7, 0, 300}, {0, 2, 300, 2}}, 8, 1, 24}};
}

// Windows of one key, shorter and longer than a block of 64 keys, than a panel, than the sequence; and sequences of more than one chunk of keys.
std::vector<AttentionShape> windowed_training_shapes() {
  return {training_shape({1, 7}, 2, 1, 3, 1),           training_shape({40, 1, 23}, 14, 2, 64, 5), training_shape({90, 150}, 4, 2, 20, 64),
          training_shape({200, 33}, 9, 3, 64, 100),     training_shape({65}, 3, 3, 16, 65),        training_shape({65}, 3, 3, 16, 64),
          training_shape({50}, 2, 2, 33, 1000),         training_shape({600}, 1, 1, 64, 70),       training_shape({300}, 7, 1, 8, 17),
          training_shape({190, 3, 100}, 2, 1, 256, 80), training_shape({20, 300}, 2, 1, 4, 299)};
}

std::vector<AttentionShape> windowed_decoding_shapes() {
  std::vector<AttentionShape> shapes = decoding_shapes();
  for (std::size_t i = 0; i < shapes.size(); ++i) shapes[i].window = std::vector<std::int64_t>{1, 64, 70, 33, 250}[i];
  return shapes;
}

// Training with a prefix whose queries are in another segment: fewer queries than keys, and gradients for all keys.
std::vector<AttentionShape> prefixed_training_shapes() {
  std::vector<AttentionShape> shapes = {{{{0, 30, 0, 30}, {30, 20, 30, 40}, {50, 1, 70, 21}, {51, 90, 91, 110}}, 9, 3, 64},
                                        {{{0, 70, 0, 200}}, 4, 2, 20},
                                        {{{0, 33, 0, 34}, {33, 5, 34, 600}}, 2, 1, 64},
                                        {{{0, 3, 0, 64}, {3, 130, 64, 260}}, 14, 2, 64}};
  const std::size_t count = shapes.size();
  for (std::size_t i = 0; i < count; ++i) {
    for (const std::int64_t window : {1, 17, 90}) {
      shapes.push_back(shapes[i]);
      shapes.back().window = window;
    }
  }
  return shapes;
}

struct Inputs {
  explicit Inputs(const AttentionShape& shape, float spread = 1.0f)
      : q(random_buffer(shape.q_size(), 1, spread)),
        k(random_buffer(shape.kv_size(), 2, spread)),
        v(random_buffer(shape.kv_size(), 3)),
        dout(random_buffer(shape.q_size(), 4)) {}
  Buffer q;
  Buffer k;
  Buffer v;
  Buffer dout;
};

AttentionForward forward_args(const AttentionShape& shape, const Inputs& in, Buffer& out, float* lse) {
  return {in.q.data(),    in.k.data(),  in.v.data(),   shape.segments, shape.heads, shape.kv_heads,
          shape.head_dim, shape.window, shape.scale(), out.data(),     lse};
}

// spread 4 makes scores of about +-60: sharp softmaxes whose maximum moves from block to block.
void expect_forward(const AttentionShape& shape, float spread) {
  SCOPED_TRACE(describe(shape));
  const Inputs in(shape, spread);
  const ExactForward exact = exact_forward(shape, widened(in.q), widened(in.k), widened(in.v));
  Buffer out(shape.q_size());
  Buffer lse(shape.lse_size());
  TestContext plain(1, 0);
  reference::attention_forward(forward_args(shape, in, out, lse.data()), plain.get());
  expect_close(out, exact.out.value, exact.out.bound, "reference out");
  expect_close(lse, exact.lse.value, exact.lse.bound, "reference lse");
  Buffer one_thread(shape.q_size());
  for_each_target_and_thread_count([&](int threads) {
    out.poison();
    lse.poison();
    const AttentionForward args = forward_args(shape, in, out, lse.data());
    TestContext context(threads, cpu::attention_forward_workspace_bytes(args, threads));
    cpu::attention_forward(args, context.get());
    EXPECT_TRUE(context.intact());
    expect_close(out, exact.out.value, exact.out.bound, "out");
    expect_close(lse, exact.lse.value, exact.lse.bound, "lse");
    if (threads == 1) one_thread = copy_of(out);
    Buffer without_lse(shape.q_size());
    cpu::attention_forward(forward_args(shape, in, without_lse, nullptr), context.get());
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i], one_thread[i]);  // forward does not even depend on the thread count
      ASSERT_EQ(out[i], without_lse[i]);
    }
  });
}

TEST(Attention, ForwardMatchesFp64) {
  for (const AttentionShape& shape : training_shapes()) expect_forward(shape, 1.0f);
  for (const AttentionShape& shape : training_shapes()) expect_forward(shape, 4.0f);
}

TEST(Attention, DecodingMatchesFp64) {
  for (const AttentionShape& shape : decoding_shapes()) expect_forward(shape, 1.0f);
}

AttentionBackward backward_args(const AttentionShape& shape, const Inputs& in, const Buffer& out, const Buffer& lse, Buffer& dq, Buffer& dk,
                                Buffer& dv) {
  return {in.q.data(), in.k.data(),    in.v.data(),    out.data(),   lse.data(),    in.dout.data(), shape.segments, shape.q_rows(),
          shape.heads, shape.kv_heads, shape.head_dim, shape.window, shape.scale(), dq.data(),      dk.data(),      dv.data()};
}

TEST(Attention, WindowedForwardMatchesFp64) {
  for (const AttentionShape& shape : windowed_training_shapes()) expect_forward(shape, 1.0f);
  for (const AttentionShape& shape : windowed_training_shapes()) expect_forward(shape, 4.0f);
  for (const AttentionShape& shape : windowed_decoding_shapes()) expect_forward(shape, 1.0f);
}

void expect_backward(const std::vector<AttentionShape>& shapes) {
  for (const AttentionShape& shape : shapes) {
    SCOPED_TRACE(describe(shape));
    const Inputs in(shape);
    Buffer out(shape.q_size());
    Buffer lse(shape.lse_size());
    TestContext plain(1, 0);
    reference::attention_forward(forward_args(shape, in, out, lse.data()), plain.get());
    const ExactBackward exact = exact_backward(shape, widened(in.q), widened(in.k), widened(in.v), widened(out), widened(lse), widened(in.dout));
    Buffer dq(shape.q_size());
    Buffer dk(shape.kv_size());
    Buffer dv(shape.kv_size());
    reference::attention_backward(backward_args(shape, in, out, lse, dq, dk, dv), plain.get());
    expect_close(dq, exact.dq.value, exact.dq.bound, "reference dq");
    expect_close(dk, exact.dk.value, exact.dk.bound, "reference dk");
    expect_close(dv, exact.dv.value, exact.dv.bound, "reference dv");
    for_each_target_and_thread_count([&](int threads) {
      for (Buffer* buffer : {&dq, &dk, &dv}) buffer->poison();
      const AttentionBackward args = backward_args(shape, in, out, lse, dq, dk, dv);
      TestContext context(threads, cpu::attention_backward_workspace_bytes(args, threads));
      cpu::attention_backward(args, context.get());
      EXPECT_TRUE(context.intact());
      expect_close(dq, exact.dq.value, exact.dq.bound, "dq");
      expect_close(dk, exact.dk.value, exact.dk.bound, "dk");
      expect_close(dv, exact.dv.value, exact.dv.bound, "dv");
      Buffer dq2(shape.q_size());
      Buffer dk2(shape.kv_size());
      Buffer dv2(shape.kv_size());
      cpu::attention_backward(backward_args(shape, in, out, lse, dq2, dk2, dv2), context.get());
      for (std::size_t i = 0; i < dk.size(); ++i) ASSERT_TRUE(dk[i] == dk2[i] && dv[i] == dv2[i]) << "not reproducible";
    });
  }
}

TEST(Attention, BackwardMatchesFp64) { expect_backward(training_shapes()); }
TEST(Attention, BackwardWithAPrefixMatchesFp64) { expect_backward(prefixed_training_shapes()); }
TEST(Attention, WindowedBackwardMatchesFp64) { expect_backward(windowed_training_shapes()); }

// Eight threads split every unit: more partial sums than two threads make.
void expect_backward_on_eight_threads(const AttentionShape& shape) {
  SCOPED_TRACE(describe(shape));
  const Inputs in(shape);
  Buffer out(shape.q_size());
  Buffer lse(shape.lse_size());
  Buffer dq(shape.q_size());
  Buffer dk(shape.kv_size());
  Buffer dv(shape.kv_size());
  const AttentionForward forward = forward_args(shape, in, out, lse.data());
  const AttentionBackward backward = backward_args(shape, in, out, lse, dq, dk, dv);
  TestContext context(8, std::max(cpu::attention_forward_workspace_bytes(forward, 8), cpu::attention_backward_workspace_bytes(backward, 8)));
  cpu::attention_forward(forward, context.get());
  cpu::attention_backward(backward, context.get());
  const ExactBackward exact = exact_backward(shape, widened(in.q), widened(in.k), widened(in.v), widened(out), widened(lse), widened(in.dout));
  EXPECT_TRUE(context.intact());
  expect_close(dq, exact.dq.value, exact.dq.bound, "dq");
  expect_close(dk, exact.dk.value, exact.dk.bound, "dk");
  expect_close(dv, exact.dv.value, exact.dv.bound, "dv");
}

TEST(Attention, ManySplitsMatchFp64) {
  expect_backward_on_eight_threads(training_shape({90, 5}, 4, 2, 24));
  expect_backward_on_eight_threads(training_shape({700}, 2, 1, 24, 40));
  expect_backward_on_eight_threads({{{0, 50, 0, 50}, {50, 300, 50, 350}}, 4, 2, 24});
  expect_backward_on_eight_threads({{{0, 50, 0, 50}, {50, 300, 50, 350}}, 4, 2, 24, 60});
}

TEST(Attention, GradientsAreFiniteDifferences) {
  const AttentionShape shape = training_shape({6, 1, 3}, 4, 2, 5);
  const Inputs in(shape);
  const std::vector<double> dout = widened(in.dout);
  std::vector<double> inputs[3] = {widened(in.q), widened(in.k), widened(in.v)};
  const ExactForward exact = exact_forward(shape, inputs[0], inputs[1], inputs[2]);
  const auto loss = [&] {
    const ExactForward moved = exact_forward(shape, inputs[0], inputs[1], inputs[2]);
    double sum = 0;
    for (std::size_t i = 0; i < dout.size(); ++i) sum += dout[i] * moved.out.value[i];
    return sum;
  };
  // Step 1e-4: truncation is h^2/6 times a third derivative of order sum |dout| |v|; rounding 1e-16 times the loss over h is smaller.
  double magnitude = 0;
  for (const double d : dout) magnitude += std::abs(d);
  const double difference_error = 1e-8 * magnitude;
  std::vector<double> numeric[3];
  for (int which = 0; which < 3; ++which) {
    for (double& x : inputs[which]) {
      const double kept = x;
      x = kept + 1e-4;
      const double above = loss();
      x = kept - 1e-4;
      numeric[which].push_back((above - loss()) / 2e-4);
      x = kept;
    }
  }
  const ExactBackward bounds = exact_backward(shape, inputs[0], inputs[1], inputs[2], exact.out.value, exact.lse.value, dout);
  const auto with_difference = [&](std::vector<double> bound) {
    // lse and out come rounded from forward: as much again as backward's own bound counts for them.
    for (double& b : bound) b = 3 * b + difference_error;
    return bound;
  };
  for_each_target_and_thread_count([&](int threads) {
    for (const bool plain : {false, true}) {
      Buffer out(shape.q_size());
      Buffer lse(shape.lse_size());
      Buffer dq(shape.q_size());
      Buffer dk(shape.kv_size());
      Buffer dv(shape.kv_size());
      const AttentionForward forward = forward_args(shape, in, out, lse.data());
      const AttentionBackward backward = backward_args(shape, in, out, lse, dq, dk, dv);
      TestContext context(
          threads, std::max(cpu::attention_forward_workspace_bytes(forward, threads), cpu::attention_backward_workspace_bytes(backward, threads)));
      plain ? reference::attention_forward(forward, context.get()) : cpu::attention_forward(forward, context.get());
      plain ? reference::attention_backward(backward, context.get()) : cpu::attention_backward(backward, context.get());
      expect_close(dq, numeric[0], with_difference(bounds.dq.bound), "dq");
      expect_close(dk, numeric[1], with_difference(bounds.dk.bound), "dk");
      expect_close(dv, numeric[2], with_difference(bounds.dv.bound), "dv");
    }
  });
}

// A NaN among the keys must not vanish: a diverged run has to look diverged.
TEST(Attention, NanStaysVisible) {
  const AttentionShape shape = training_shape({9}, 1, 1, 8);
  for_each_target_and_thread_count([&](int threads) {
    Inputs in(shape);
    in.k[4 * 8 + 1] = std::numeric_limits<float>::quiet_NaN();
    Buffer out(shape.q_size());
    const AttentionForward args = forward_args(shape, in, out, nullptr);
    TestContext context(threads, cpu::attention_forward_workspace_bytes(args, threads));
    cpu::attention_forward(args, context.get());
    EXPECT_FALSE(std::isnan(out[3 * 8]));
    EXPECT_TRUE(std::isnan(out[4 * 8]));
    EXPECT_TRUE(std::isnan(out[8 * 8]));
  });
}

}  // namespace
}  // namespace evolora
