// glibc's malloc_trim.
#include "base/heap.h"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace evolora {

void give_back_free_heap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace evolora
