// One JSON file per exchange.
#include "evolve/llm/recorded_chat.h"

#include <fmt/format.h>

#include "base/json.h"
#include "base/sha256.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Json reply_to_json(const ChatReply& reply) {
  return {{"text", reply.text},
          {"refusal", reply.refusal},
          {"finish_reason", reply.finish_reason},
          {"prompt_tokens", reply.used.prompt},
          {"completion_tokens", reply.used.completion},
          {"cost_picodollars", reply.cost}};
}

}  // namespace

Result<ChatReply> RecordedChat::chat(std::int64_t number, const ChatRequest& request) {
  const Json body = chat_request_to_json(request);
  const std::string digest = sha256_hex(TRY(json_to_text(body)));
  const fs::path path = folder_ / fmt::format("{:06}.json", number);
  if (files_.exists(path)) return from_record(path, number, digest);
  if (inner_ == nullptr) {
    return Error{ErrorCode::kBadData, fmt::format("{}: not found; the record that is replayed ends before exchange {}", path.string(), number)};
  }
  ChatReply reply = TRY(inner_->chat(number, request));
  const Json record = {{"exchange", number}, {"request_sha256", digest}, {"request", body}, {"reply", reply_to_json(reply)}};
  TRY(files_.create_directories(folder_));
  const std::string text = TRY(json_to_text(record)) + "\n";
  TRY(write_file_atomically(files_, path, text));
  return reply;
}

Result<ChatReply> RecordedChat::from_record(const fs::path& path, std::int64_t number, const std::string& digest) const {
  const Json record = TRY(read_json_object(files_, path));
  const auto bad = [&](const std::string& what) { return Error{ErrorCode::kBadData, fmt::format("{}: {}", path.string(), what)}; };
  if (record.value("exchange", Json()) != Json(number)) return bad(fmt::format("expected 'exchange' to be {}", number));
  for (const char* key : {"request", "reply"}) {
    if (!record.contains(key) || !record[key].is_object()) return bad(fmt::format("expected an object '{}'", key));
  }
  if (record.value("request_sha256", Json()) != Json(sha256_hex(TRY(json_to_text(record["request"]))))) {
    return bad("'request_sha256' is not the digest of 'request': the record was changed");
  }
  if (record["request_sha256"] != Json(digest)) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: the search asks something else than was recorded (request {:.12}, recorded {:.12}): replay with the "
                             "settings, templates and starting point of the record, or leave it out",
                             path.string(), digest, record["request_sha256"].get<std::string>())};
  }
  const Json& said = record["reply"];
  for (const char* key : {"text", "refusal", "finish_reason"}) {
    if (!said.contains(key) || !said[key].is_string()) return bad(fmt::format("expected a text 'reply.{}'", key));
  }
  for (const char* key : {"prompt_tokens", "completion_tokens", "cost_picodollars"}) {
    if (!said.contains(key) || !said[key].is_number_integer() || said[key] < 0) return bad(fmt::format("expected a count 'reply.{}'", key));
  }
  return ChatReply{.text = said["text"],
                   .refusal = said["refusal"],
                   .finish_reason = said["finish_reason"],
                   .used = {said["prompt_tokens"], said["completion_tokens"]},
                   .cost = said["cost_picodollars"]};
}

}  // namespace evolora
