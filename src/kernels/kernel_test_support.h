// What the kernel tests share: aligned buffers with poison around and inside, seeded random values, and a loop over every SIMD target of this
// machine.
#pragma once

#include <gtest/gtest.h>
#include <hwy/aligned_allocator.h>
#include <hwy/targets.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/context.h"

namespace evolora::testing_support {

// Unit roundoff of fp32.
constexpr double kEps = 0x1p-24;

// A 64-byte aligned array filled with NaN; canaries behind it are checked by intact().
class Buffer {
 public:
  explicit Buffer(std::size_t count) : count_(count), data_(hwy::AllocateAligned<float>(count + kGuard)) { poison(); }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  std::size_t size() const { return count_; }
  float& operator[](std::size_t i) { return data_[i]; }
  float operator[](std::size_t i) const { return data_[i]; }
  void poison() {
    for (std::size_t i = 0; i < count_; ++i) data_[i] = std::numeric_limits<float>::quiet_NaN();
    for (std::size_t i = 0; i < kGuard; ++i) data_[count_ + i] = kCanary;
  }
  bool intact() const {
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (data_[count_ + i] != kCanary) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr float kCanary = -987654.0f;
  std::size_t count_;
  hwy::AlignedFreeUniquePtr<float[]> data_;
};

inline Buffer random_buffer(std::size_t count, std::uint32_t seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  Buffer buffer(count);
  for (std::size_t i = 0; i < count; ++i) buffer[i] = normal(generator);
  return buffer;
}

inline Buffer copy_of(const Buffer& other) {
  Buffer copy(other.size());
  for (std::size_t i = 0; i < other.size(); ++i) copy[i] = other[i];
  return copy;
}

// A context whose workspace has exactly the bytes asked for, full of NaN, with a canary behind.
class TestContext {
 public:
  TestContext(int thread_count, std::size_t bytes)
      : threads_(thread_count), workspace_(bytes / sizeof(float) + 1), context_{threads_, reinterpret_cast<std::byte*>(workspace_.data()), bytes} {}
  KernelContext& get() { return context_; }
  bool intact() const { return workspace_.intact(); }

 private:
  Threads threads_;
  Buffer workspace_;
  KernelContext context_;
};

// Runs body once per SIMD target that this machine supports and the build contains, and 1 and 2 threads. body(int threads)
template <typename Body>
void for_each_target_and_thread_count(const Body& body) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    for (const int threads : {1, 2}) {
      SCOPED_TRACE(std::string(hwy::TargetName(target)) + ", threads " + std::to_string(threads));
      body(threads);
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

// Every element within its own bound of what was expected. NaN never passes.
template <typename Expected, typename Bound>
void expect_close(const Buffer& actual, const Expected& expected, const Bound& bound, const char* what) {
  ASSERT_TRUE(actual.intact()) << what << " was written past its end";
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    ASSERT_TRUE(error <= static_cast<double>(bound[i]))
        << what << "[" << i << "]: got " << actual[i] << ", expected " << expected[i] << ", bound " << bound[i];
  }
}

}  // namespace evolora::testing_support
