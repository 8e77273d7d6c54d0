// The seam to the network: one POST of JSON to one address, and waiting between attempts. The real ones are curl_transport() and clock_waiter();
// tests inject replies.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "evolve/llm/secret.h"

namespace evolora {

// A chat answer is some ten thousand bytes; a reply beyond this is a mistake or an attack.
inline constexpr std::size_t kMaxReplyBytes = std::size_t{4} << 20;

struct HttpRequest {
  std::string url;
  std::string body;             // JSON
  const Secret* key = nullptr;  // of "Authorization: Bearer"; null or empty: no such header
  double timeout_seconds = 60;  // of the whole exchange
  std::string proxy;            // empty: none, whatever the environment says
};

enum class Delivery {
  kAnswered,  // status and body are complete
  kNotSent,   // no connection: the request cannot have cost anything
  kLost,      // sent, but no complete answer came (time-out, cut connection, too large): it may have cost something
  kStopped,   // the user asked to stop; sent or not
};

struct HttpOutcome {
  Delivery delivery = Delivery::kNotSent;
  int status = 0;    // kAnswered
  std::string body;  // kAnswered
  std::optional<double> retry_after_seconds;
  std::string failure;  // not kAnswered: one line
};

// Not thread-safe.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual HttpOutcome post(const HttpRequest& request) = 0;
};

// HTTPS with verified certificates (or plain HTTP), no redirects, no proxy of the environment, no .netrc, no cookies. stop, if given, ends a running
// request within a second. kDependency: there is no libcurl.
Result<std::unique_ptr<Transport>> curl_transport(const std::atomic<bool>* stop);

class Waiter {
 public:
  virtual ~Waiter() = default;
  // kInterrupted when the user asked to stop.
  virtual Status wait(double seconds) = 0;
};

std::unique_ptr<Waiter> clock_waiter(const std::atomic<bool>* stop);

// An address that requests may go to: https, or http to this machine (any host if there is no key to protect). Returns it without trailing slashes.
// kUsage for another scheme, user names, queries, fragments, white space.
Result<std::string> check_api_base(const std::string& url, bool has_key);

}  // namespace evolora
