// CHECK(condition): aborts with file, line and text when an invariant of our own code is broken. Never reachable by user input or file content.
// CHECKED arithmetic: products and sums of sizes that came from a file, which must not wrap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace evolora {

[[noreturn]] void check_failed(const char* file, int line, const char* condition);

#define CHECK(condition)                                       \
  do {                                                         \
    if (!(condition)) [[unlikely]] {                           \
      ::evolora::check_failed(__FILE__, __LINE__, #condition); \
    }                                                          \
  } while (false)

// a * b and a + b, or nullopt if the result does not fit T.
template <typename T>
std::optional<T> checked_mul(T a, T b) {
  T out;
  return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional<T>(out);
}
template <typename T>
std::optional<T> checked_add(T a, T b) {
  T out;
  return __builtin_add_overflow(a, b, &out) ? std::nullopt : std::optional<T>(out);
}

// size_t <-> int64_t and friends where the value is known to fit; aborts if it does not.
template <typename To, typename From>
To checked_cast(From value) {
  static_assert(std::is_integral_v<To> && std::is_integral_v<From>);
  To out{};
  CHECK(!__builtin_add_overflow(value, From{0}, &out));
  return out;
}

}  // namespace evolora
