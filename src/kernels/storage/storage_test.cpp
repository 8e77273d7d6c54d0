// storage against the scalar conversions, bit by bit: ordinary values, ties, subnormals, infinities, NaN.
#include "base/dtype.h"
#include "kernels/kernel_test_support.h"
#include "kernels/storage/contract.h"

namespace evolora {
namespace {

using namespace testing_support;

constexpr std::int64_t kCounts[] = {1, 3, 16, 17, 1000, 32768, 40001};

Buffer values(std::size_t n) {
  Buffer x = random_buffer(n, 7, 3.0f);
  const std::uint32_t special[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
                                   0x7f800001, 0xffffffff, 0x00000001, 0x80000000, 0x00008000, 0x00018000, 0xbf818000};
  for (std::size_t i = 0; i < n; i += 5) x[i] = std::bit_cast<float>(special[(i / 5) % std::size(special)]);
  return x;
}

TEST(Storage, NarrowRoundsToNearestEven) {
  // Half way between two bf16 values: to the even one, whichever side it is on.
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  for (const std::int64_t n : kCounts) {
    const Buffer x = values(static_cast<std::size_t>(n));
    const auto expect_narrow = [&](const std::vector<std::uint16_t>& out) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        if (std::isnan(x[i])) {
          ASSERT_TRUE(std::isnan(bf16_to_f32(out[i]))) << i;
        } else {
          ASSERT_EQ(out[i], f32_to_bf16(x[i])) << i << ": " << x[i];
        }
      }
      ASSERT_EQ(out.back(), 0xabcd) << "written past the end";
    };
    std::vector<std::uint16_t> plain(static_cast<std::size_t>(n) + 1, 0xabcd);
    TestContext plain_context(1, 0);
    reference::narrow({x.data(), n, plain.data()}, plain_context.get());
    expect_narrow(plain);
    for_each_target_and_thread_count([&](int threads) {
      TestContext context(threads, 0);
      std::vector<std::uint16_t> out(static_cast<std::size_t>(n) + 1, 0xabcd);
      cpu::narrow({x.data(), n, out.data()}, context.get());
      expect_narrow(out);
    });
  }
}

TEST(Storage, WidenIsExact) {
  for (const std::int64_t n : kCounts) {
    std::vector<std::uint16_t> bits(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i * 7919);
    for_each_target_and_thread_count([&](int threads) {
      TestContext context(threads, 0);
      Buffer out(bits.size());
      cpu::widen({bits.data(), n, out.data()}, context.get());
      Buffer plain(bits.size());
      reference::widen({bits.data(), n, plain.data()}, context.get());
      ASSERT_TRUE(out.intact());
      for (std::size_t i = 0; i < bits.size(); ++i) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), static_cast<std::uint32_t>(bits[i]) << 16);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(plain[i]), static_cast<std::uint32_t>(bits[i]) << 16);
      }
    });
  }
}

}  // namespace
}  // namespace evolora
