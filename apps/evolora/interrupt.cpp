// Signal handlers that only set a lock-free flag.
#include "interrupt.h"

#include <signal.h>

namespace evolora {
namespace {

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void request_stop(int) { stop_requested.store(true); }

}  // namespace

const std::atomic<bool>* stop_flag() {
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_handler = request_stop;
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);  // the second signal has its default effect
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    return true;
  }();
  return installed ? &stop_requested : nullptr;
}

}  // namespace evolora
