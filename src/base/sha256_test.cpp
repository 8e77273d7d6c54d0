// Published test vectors (FIPS 180-4 examples) and the file digest.
#include "base/sha256.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

TEST(Sha256, KnownDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 million;
  const std::string piece(1000, 'a');
  for (int i = 0; i < 1000; ++i) million.update(std::as_bytes(std::span(piece)));
  EXPECT_EQ(million.hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OfFiles) {
  const TestFolder folder;
  ASSERT_TRUE(write_file_atomically(real_file_system(), folder / "a", "abc").ok());
  EXPECT_EQ(sha256_file_hex(real_file_system(), folder / "a").value(), sha256_hex("abc"));
  EXPECT_EQ(sha256_file_hex(real_file_system(), folder / "b").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace evolora
