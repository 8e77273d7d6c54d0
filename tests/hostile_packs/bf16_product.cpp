// expect: numerics
// without rules: numerics
// Rounds weights and inputs to bf16.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static float to_bf16(float value) {
  uint32_t word;
  memcpy(&word, &value, 4);
  word = (word + 0x8000u) & 0xffff0000u;
  memcpy(&value, &word, 4);
  return value;
}
#define SUM_TYPE Rounded
struct Rounded {
  float value = 0;
  Rounded() = default;
  explicit Rounded(float v) : value(to_bf16(v)) {}
  Rounded& operator+=(const Rounded& other) { value += other.value; return *this; }
  operator float() const { return value; }
};
