// POST by libcurl, and sleeping that can be interrupted.
#include "evolve/llm/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "base/check.h"
#include "evolve/llm/curl_library.h"

namespace evolora {
namespace {

// What the callbacks of one request fill.
struct Receiver {
  std::string body;
  bool too_large = false;
  const std::atomic<bool>* stop = nullptr;
};

std::size_t receive(char* data, std::size_t size, std::size_t count, void* target) {
  auto& receiver = *static_cast<Receiver*>(target);
  const std::size_t bytes = size * count;  // libcurl: at most CURL_MAX_WRITE_SIZE
  if (bytes > kMaxReplyBytes - receiver.body.size()) {
    receiver.too_large = true;
    return 0;
  }
  receiver.body.append(data, bytes);
  return bytes;
}

int look_at_stop(void* target, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& receiver = *static_cast<const Receiver*>(target);
  return receiver.stop != nullptr && receiver.stop->load() ? 1 : 0;
}

// Overwrites the header lines: one of them has the key.
struct Headers {
  const CurlLibrary& curl;
  curl_slist* list = nullptr;
  explicit Headers(const CurlLibrary& library) : curl(library) {}
  Headers(const Headers&) = delete;
  Headers& operator=(const Headers&) = delete;
  ~Headers() {
    for (curl_slist* item = list; item != nullptr; item = item->next) explicit_bzero(item->data, std::strlen(item->data));
    curl.slist_free_all(list);
  }
  void add(const char* line) {
    curl_slist* longer = curl.slist_append(list, line);
    CHECK(longer != nullptr);
    list = longer;
  }
};

class CurlTransport : public Transport {
 public:
  CurlTransport(const CurlLibrary& curl, const std::atomic<bool>* stop) : curl_(curl), stop_(stop) {}

  HttpOutcome post(const HttpRequest& request) override {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(curl_.easy_init(), curl_.easy_cleanup);
    CHECK(handle != nullptr);
    Receiver receiver{.stop = stop_};
    Headers headers(curl_);
    headers.add("Content-Type: application/json");
    headers.add("Accept: application/json");
    headers.add("Expect:");
    if (request.key != nullptr && !request.key->empty()) {
      std::string line = "Authorization: Bearer ";
      line.reserve(line.size() + request.key->reveal().size() + 1);  // no reallocation leaves a copy behind
      line += request.key->reveal();
      headers.add(line.c_str());
      explicit_bzero(line.data(), line.size());
    }
    set_options(handle.get(), request, headers, receiver);
    const CURLcode code = curl_.easy_perform(handle.get());
    return outcome_of(handle.get(), code, receiver, request);
  }

 private:
  void set_options(CURL* handle, const HttpRequest& request, const Headers& headers, Receiver& receiver) const {
    const auto set = [&](CURLoption option, auto value) { CHECK(curl_.easy_setopt(handle, option, value) == CURLE_OK); };
    set(CURLOPT_URL, request.url.c_str());
    set(CURLOPT_HTTPHEADER, headers.list);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    set(CURLOPT_PROXY, request.proxy.c_str());  // "" also switches the environment's proxies off
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_TIMEOUT_MS, std::lround(std::clamp(request.timeout_seconds, 0.001, 1e6) * 1000));
    set(CURLOPT_CONNECTTIMEOUT_MS, std::lround(std::clamp(request.timeout_seconds, 0.001, 30.0) * 1000));
    set(CURLOPT_WRITEFUNCTION, &receive);
    set(CURLOPT_WRITEDATA, &receiver);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &look_at_stop);
    set(CURLOPT_XFERINFODATA, &receiver);
  }

  HttpOutcome outcome_of(CURL* handle, CURLcode code, Receiver& receiver, const HttpRequest& request) const {
    HttpOutcome outcome;
    if (code == CURLE_OK) {
      long status = 0;
      curl_off_t retry_after = 0;
      curl_.easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
      curl_.easy_getinfo(handle, CURLINFO_RETRY_AFTER, &retry_after);
      outcome.delivery = Delivery::kAnswered;
      outcome.status = static_cast<int>(status);
      outcome.body = std::move(receiver.body);
      if (retry_after > 0) outcome.retry_after_seconds = static_cast<double>(retry_after);
      return outcome;
    }
    // Whether bytes left this machine decides whether they may have cost something.
    long sent = 0;
    curl_.easy_getinfo(handle, CURLINFO_REQUEST_SIZE, &sent);
    outcome.delivery = sent > 0 ? Delivery::kLost : Delivery::kNotSent;
    if (receiver.too_large) {
      outcome.failure = fmt::format("the reply is larger than {} bytes", kMaxReplyBytes);
    } else if (code == CURLE_ABORTED_BY_CALLBACK) {
      outcome.delivery = Delivery::kStopped;
      outcome.failure = "stopped";
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
      outcome.failure = fmt::format("no complete reply within {} s", request.timeout_seconds);
    } else {
      outcome.failure = curl_.easy_strerror(code);
    }
    return outcome;
  }

  const CurlLibrary& curl_;
  const std::atomic<bool>* stop_;
};

class ClockWaiter : public Waiter {
 public:
  explicit ClockWaiter(const std::atomic<bool>* stop) : stop_(stop) {}
  Status wait(double seconds) override {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    for (;;) {
      if (stop_ != nullptr && stop_->load()) return Error{ErrorCode::kInterrupted, "stopped while waiting for the language model"};
      const auto left = end - std::chrono::steady_clock::now();
      if (left.count() <= 0) return {};
      std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(left, std::chrono::milliseconds(50)));
    }
  }

 private:
  const std::atomic<bool>* stop_;
};

bool is_this_machine(std::string_view host) { return host == "localhost" || host == "127.0.0.1" || host == "[::1]" || host == "::1"; }

}  // namespace

Result<std::unique_ptr<Transport>> curl_transport(const std::atomic<bool>* stop) {
  const CurlLibrary* const curl = TRY(curl_library());
  return std::unique_ptr<Transport>(std::make_unique<CurlTransport>(*curl, stop));
}

std::unique_ptr<Waiter> clock_waiter(const std::atomic<bool>* stop) { return std::make_unique<ClockWaiter>(stop); }

Result<std::string> check_api_base(const std::string& url, bool has_key) {
  const auto refuse = [&](std::string_view why) {
    return Error{ErrorCode::kUsage, fmt::format("api_base: expected an address like https://api.example.com/v1, got '{}': {}", url, why)};
  };
  const bool printable = std::all_of(url.begin(), url.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (url.empty() || !printable) return refuse("it is empty or has characters that an address cannot have");
  // libcurl's own parser, so that what is checked is what is used.
  const CurlLibrary& curl = *TRY(curl_library());
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl.url(), curl.url_cleanup);
  CHECK(parsed != nullptr);
  if (curl.url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return refuse("it is not a URL");
  const auto part = [&](CURLUPart which) {
    char* text = nullptr;
    if (curl.url_get(parsed.get(), which, &text, 0) != CURLUE_OK) return std::string();
    std::string copy = text;
    curl.free(text);
    return copy;
  };
  const std::string scheme = part(CURLUPART_SCHEME);
  if (scheme != "https" && scheme != "http") return refuse("only https and http are spoken");
  if (!part(CURLUPART_USER).empty() || !part(CURLUPART_PASSWORD).empty()) {
    return Error{ErrorCode::kUsage, "api_base: it has a user name or password; keys come from api_key_env or api_key_file"};
  }
  if (!part(CURLUPART_QUERY).empty() || !part(CURLUPART_FRAGMENT).empty()) return refuse("it has a query or a fragment");
  if (scheme == "http" && has_key && !is_this_machine(part(CURLUPART_HOST))) {
    return refuse("a key would cross the network unencrypted; use https");
  }
  std::string base = url;
  while (base.ends_with('/')) base.pop_back();
  return base;
}

}  // namespace evolora
