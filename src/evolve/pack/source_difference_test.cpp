// Differences as `diff -u` writes them.
#include "evolve/pack/source_difference.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

TEST(SourceDifference, ShowsWhatChangedAndThreeLinesAround) {
  const PackSources from = {{"a.cpp", "1\n2\n3\n4\n5\n6\n7\n8\n9\n"}, {"b.cpp", "same\n"}};
  PackSources to = from;
  EXPECT_EQ(source_difference(from, to), "");
  to["a.cpp"] = "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten\n";
  EXPECT_EQ(source_difference(from, to), "--- a.cpp\n+++ a.cpp\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+ten\n");
  to["a.cpp"] = "0\n1\n2\n3\n4\n5\n6\n7\n8\n";
  EXPECT_EQ(source_difference(from, to), "--- a.cpp\n+++ a.cpp\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -6,4 +7,3 @@\n 6\n 7\n 8\n-9\n");
}

TEST(SourceDifference, MovedLinesAreNotAllOfTheFile) {
  const std::string difference = source_difference({{"a", "x\ny\nz\n"}}, {{"a", "y\nz\nx\n"}});
  EXPECT_EQ(difference, "--- a\n+++ a\n@@ -1,3 +1,3 @@\n-x\n y\n z\n+x\n");
}

}  // namespace
}  // namespace evolora
