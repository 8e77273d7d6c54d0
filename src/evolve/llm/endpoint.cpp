// Attempts, waits between them, and the strict reading of what comes back.
#include "evolve/llm/endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/json.h"
#include "evolve/llm/untrusted_text.h"
#include "evolve/random.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// Separates the random factors of waiting from the numbers that proposals use: a proposal is the same whether or not its answer needed retries.
constexpr std::uint64_t kWaitStream = 0x57A1700000000000ULL;

bool is_transient(int status) { return status == 408 || status == 425 || status == 429 || (status >= 500 && status <= 599); }

// The endpoint's own words about an error, for people: one short line.
std::string words_of(const std::string& body) {
  constexpr std::size_t kLongest = 200;
  const Result<Json> parsed = parse_json(body);
  std::string words = body;
  if (parsed.ok() && parsed->is_object() && parsed->contains("error")) {
    const Json& error = (*parsed)["error"];
    if (error.is_string()) words = error.get<std::string>();
    if (error.is_object() && error.contains("message") && error["message"].is_string()) words = error["message"].get<std::string>();
  }
  return one_line(words, kLongest);
}

Error bad_reply(const std::string& what) { return {ErrorCode::kBadData, "not a chat completion: " + what}; }

Result<std::string> text_in(const Json& message, const char* key) {
  if (!message.contains(key) || message[key].is_null()) return std::string();
  if (!message[key].is_string()) return bad_reply(fmt::format("expected '{}' to be a text, got {}", key, message[key].type_name()));
  return message[key].get<std::string>();
}

// Counts beyond this are nonsense, and would overflow sums.
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

Result<std::optional<TokenCount>> usage_in(const Json& body) {
  if (!body.contains("usage") || body["usage"].is_null()) return std::optional<TokenCount>();
  const Json& usage = body["usage"];
  TokenCount count;
  for (const auto& [key, target] : {std::pair{"prompt_tokens", &count.prompt}, std::pair{"completion_tokens", &count.completion}}) {
    const bool fits = usage.is_object() && usage.contains(key) && usage[key].is_number_integer() && usage[key] >= 0 && usage[key] <= kMostTokens;
    if (!fits) return bad_reply(fmt::format("'usage.{}' is not a count", key));
    *target = usage[key].get<std::int64_t>();
  }
  return std::optional<TokenCount>(count);
}

}  // namespace

Result<ParsedReply> parse_chat_completion(const std::string& body) {
  const Result<Json> parsed = parse_json(body);
  if (!parsed.ok()) return bad_reply(parsed.error().message);
  const Json& json = *parsed;
  if (!json.is_object() || !json.contains("choices") || !json["choices"].is_array() || json["choices"].empty()) {
    return bad_reply("no 'choices'");
  }
  const Json& choice = json["choices"][0];
  if (!choice.is_object() || !choice.contains("message") || !choice["message"].is_object()) return bad_reply("no 'choices[0].message'");
  const Json& message = choice["message"];
  if (!message.contains("content") && !message.contains("refusal")) return bad_reply("no 'choices[0].message.content'");
  ParsedReply out;
  out.reply.text = TRY(text_in(message, "content"));
  out.reply.refusal = TRY(text_in(message, "refusal"));
  out.reply.finish_reason = TRY(text_in(choice, "finish_reason"));
  const std::optional<TokenCount> usage = TRY(usage_in(json));
  if (usage) out.reply.used = *usage;
  out.reported = usage.has_value();
  return out;
}

struct Endpoint::Attempt {
  std::optional<ChatReply> reply;
  std::string failure;  // no reply: why
  bool again = false;   // no reply: whether another attempt may help
  std::optional<double> retry_after_seconds;
};

Result<Endpoint::Attempt> Endpoint::attempt(const HttpRequest& http, const ChatRequest& request) {
  const auto priced = settings_.prices.find(request.model);
  const TokenPrice price = priced == settings_.prices.end() ? TokenPrice{} : priced->second;
  const Budget::Reservation reservation = TRY(budget_.reserve({most_prompt_tokens(request), request.max_tokens}, price));
  const HttpOutcome outcome = transport_.post(http);
  switch (outcome.delivery) {
    case Delivery::kAnswered: return judge_answer(outcome, reservation);
    case Delivery::kNotSent: TRY(budget_.settle(reservation, {})); return Attempt{.failure = outcome.failure, .again = true};
    case Delivery::kLost: TRY(budget_.settle(reservation, reservation.most)); return Attempt{.failure = outcome.failure, .again = true};
    case Delivery::kStopped:
      TRY(budget_.settle(reservation, reservation.most));
      return Error{ErrorCode::kInterrupted, "stopped during a request to the language model"};
  }
  CHECK(false);
}

Result<Endpoint::Attempt> Endpoint::judge_answer(const HttpOutcome& outcome, const Budget::Reservation& reservation) {
  if (outcome.status != 200) {
    TRY(budget_.settle(reservation, {}));
    std::string failure = fmt::format("status {}: {}", outcome.status, words_of(outcome.body));
    if (outcome.status >= 300 && outcome.status <= 399) {
      failure =
          fmt::format("status {}: redirects are not followed, because the key would go along; put the final address into api_base", outcome.status);
    }
    return Attempt{.failure = failure, .again = is_transient(outcome.status), .retry_after_seconds = outcome.retry_after_seconds};
  }
  Result<ParsedReply> parsed = parse_chat_completion(outcome.body);
  if (!parsed.ok()) {
    TRY(budget_.settle(reservation, reservation.most));
    return Attempt{.failure = parsed.error().message, .again = true};
  }
  ChatReply reply = std::move(parsed->reply);
  if (!parsed->reported) reply.used = reservation.most;
  TRY(budget_.settle(reservation, reply.used));
  reply.cost = TRY(cost_of(reply.used, reservation.price));
  return Attempt{.reply = std::move(reply)};
}

Result<ChatReply> Endpoint::chat(std::int64_t number, const ChatRequest& request) {
  const HttpRequest http = {.url = settings_.api_base + "/chat/completions",
                            .body = TRY(json_to_text(chat_request_to_json(request))),
                            .key = &key_,
                            .timeout_seconds = settings_.timeout_seconds,
                            .proxy = settings_.proxy};
  Random random(settings_.seed, kWaitStream + static_cast<std::uint64_t>(number));
  for (int tries = 1;; ++tries) {
    Attempt made = TRY(attempt(http, request));
    if (made.reply) return std::move(*made.reply);
    if (!made.again || tries > settings_.retries) {
      return Error{ErrorCode::kDependency, fmt::format("{}: no answer from model '{}' after {} attempt{}: {}", http.url, request.model, tries,
                                                       tries == 1 ? "" : "s", made.failure)};
    }
    const double backoff = std::ldexp(settings_.retry_delay_seconds, tries - 1) * (0.5 + random.uniform() / 2);
    TRY(waiter_.wait(std::min(kLongestWaitSeconds, std::max(backoff, made.retry_after_seconds.value_or(0)))));
  }
}

}  // namespace evolora
