// embedding bit for bit against the reference for every weight format, repeated and extreme tokens, odd dense widths; the reference against values by
// hand.
#include "kernels/embedding/contract.h"
#include "kernels/embedding/decoded_value.h"
#include "kernels/kernel_test_support.h"
#include "kernels/weight_test_support.h"

namespace evolora {
namespace {

using namespace testing_support;

TEST(Embedding, DecodedValueByHand) {
  const std::uint32_t words[] = {0x76543210u, 0xfedcba98u, 0u, 0u};
  const float scale = 0.5f;
  const float bias = -1.0f;
  const WeightView view{.out = 1,
                        .in = 32,
                        .bits = 4,
                        .group_size = 32,
                        .dtype = DType::kF32,
                        .data = reinterpret_cast<const std::byte*>(words),
                        .scales = reinterpret_cast<const std::byte*>(&scale),
                        .biases = reinterpret_cast<const std::byte*>(&bias)};
  for (int q = 0; q < 16; ++q) EXPECT_EQ(reference::decoded_value(view, 0, q), 0.5f * static_cast<float>(q) - 1.0f);
  const std::uint32_t bytes[] = {0x03020100u, 0xff00807fu, 0u, 0u, 0u, 0u, 0u, 0u};
  WeightView eight = view;
  eight.bits = 8;
  eight.data = reinterpret_cast<const std::byte*>(bytes);
  const float expected[] = {0, 1, 2, 3, 127, 128, 0, 255};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(reference::decoded_value(eight, 0, i), 0.5f * expected[i] - 1.0f);
}

void expect_equal_to_reference(const WeightFormat& format, std::int64_t vocabulary, std::int64_t width, std::int64_t n) {
  SCOPED_TRACE(to_string(format) + ", width " + std::to_string(width));
  const StoredWeight weight(format, vocabulary, width, 7);
  std::mt19937 generator(11);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(n));
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(generator() % static_cast<std::uint32_t>(vocabulary));
  tokens.front() = static_cast<std::int32_t>(vocabulary - 1);
  tokens.back() = 0;
  const auto size = static_cast<std::size_t>(n * width);
  Buffer expected(size);
  TestContext plain_context(1, 0);
  reference::embedding_forward({tokens.data(), n, weight.view(), expected.data()}, plain_context.get());
  for_each_target_and_thread_count([&](int threads) {
    TestContext context(threads, 0);
    Buffer out(size);
    cpu::embedding_forward({tokens.data(), n, weight.view(), out.data()}, context.get());
    ASSERT_TRUE(out.intact());
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(out[i], expected[i]) << i;
  });
}

TEST(Embedding, EveryFormatEqualsReference) {
  for (const WeightFormat& format : all_weight_formats()) {
    for (const std::int64_t n : {1, 2, 37}) expect_equal_to_reference(format, 53, 384, n);
    expect_equal_to_reference(format, 5, 128, 16);
  }
}

TEST(Embedding, OddDenseWidths) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const std::int64_t width : {1, 3, 17, 65}) expect_equal_to_reference({0, 0, dtype}, 9, width, 18);
  }
}

}  // namespace
}  // namespace evolora
