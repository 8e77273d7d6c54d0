// Prints the broken invariant and aborts.
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace evolora {

void check_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "evolora: internal error at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace evolora
