// Sizes with units.
#include "base/byte_size.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

TEST(ByteSize, NumbersAndUnits) {
  EXPECT_EQ(*parse_byte_size("600MB"), 600'000'000U);
  EXPECT_EQ(*parse_byte_size("1.5 GB"), 1'500'000'000U);
  EXPECT_EQ(*parse_byte_size("512MiB"), 512U << 20);
  EXPECT_EQ(*parse_byte_size("2g"), 2'000'000'000U);
  EXPECT_EQ(*parse_byte_size("4096"), 4096U);
  EXPECT_EQ(*parse_byte_size("10 kb"), 10'000U);
}

TEST(ByteSize, AnythingElseIsRefusedWithTheText) {
  for (const char* text : {"", "MB", "-1MB", "600 megabytes", "1e30GB", "nan", "inf", "6 00MBx"}) {
    const auto size = parse_byte_size(text);
    ASSERT_FALSE(size.ok()) << text;
    EXPECT_EQ(size.error().code, ErrorCode::kUsage);
    EXPECT_NE(size.error().message.find(std::string("'") + text + "'"), std::string::npos) << size.error().message;
  }
}

}  // namespace
}  // namespace evolora
