// Memory that was freed but is still the process's.
#pragma once

namespace evolora {

// Gives the free pages of the heap back to the system; the allocator keeps them otherwise, between blocks that live. Where the C library has no such
// call: nothing. Thread-safe; takes a few milliseconds, so it is for the end of a phase.
void give_back_free_heap();

}  // namespace evolora
