// Ctrl-C and SIGTERM: the first asks the work to stop cleanly, a second one ends the program at once.
#pragma once

#include <atomic>

namespace evolora {

// Installs the handlers (once) and gives the flag they set.
const std::atomic<bool>* stop_flag();

}  // namespace evolora
