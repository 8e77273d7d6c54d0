// expect: compile
// without rules: compile
// A megabyte of errors.
#include "evolora_pack.h"
#include <string.h>
#define E(x) x x x x x x x x x x
void flood() { E(E(E(E(undeclared_name_of_a_hostile_candidate();)))) }
