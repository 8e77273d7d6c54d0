// expect: compile
// without rules: compile
// A megabyte of errors.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define E(x) x x x x x x x x x x
void flood() { E(E(E(E(undeclared_name_of_a_hostile_candidate();)))) }
