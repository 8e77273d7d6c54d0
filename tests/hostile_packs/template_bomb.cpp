// expect: compile
// without rules: compile
// Instantiates templates for ever.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
template <int N, int M>
struct Bomb { static constexpr int value = Bomb<N - 1, M>::value + Bomb<N - 1, M + 1>::value; };
template <int M>
struct Bomb<0, M> { static constexpr int value = M; };
static_assert(Bomb<850, 0>::value != 1);
