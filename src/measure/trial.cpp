// Records as JSON.
#include "measure/trial.h"

#include <fmt/format.h>

#include <cmath>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

// Reads fields of one record; remembers the first that is wrong.
struct Reader {
  const Json& json;
  const std::string& source;
  std::string wrong{};

  const Json* field(const char* name) {
    const auto found = json.find(name);
    if (found == json.end() && wrong.empty()) wrong = name;
    return found == json.end() ? nullptr : &*found;
  }
  double number(const char* name, double low) {
    const Json* value = field(name);
    if (value != nullptr && value->is_number() && std::isfinite(value->get<double>()) && value->get<double>() >= low) return value->get<double>();
    if (wrong.empty()) wrong = name;
    return low;
  }
  std::uint64_t count(const char* name) {
    const Json* value = field(name);
    if (value != nullptr && value->is_number_unsigned()) return value->get<std::uint64_t>();
    if (wrong.empty()) wrong = name;
    return 0;
  }
  std::string text(const char* name) {
    const Json* value = field(name);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    if (wrong.empty()) wrong = name;
    return "";
  }
  bool boolean(const char* name) {
    const Json* value = field(name);
    if (value != nullptr && value->is_boolean()) return value->get<bool>();
    if (wrong.empty()) wrong = name;
    return false;
  }
  template <typename T>
  std::optional<T> optional(const char* name) {
    const Json* value = field(name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (value->is_number() && std::isfinite(value->get<double>())) return value->get<T>();
    if (wrong.empty()) wrong = name;
    return std::nullopt;
  }
};

}  // namespace

const char* word(ArmRole role) { return role == ArmRole::kBaseline ? "baseline" : "candidate"; }

const char* word(TrialStatus status) {
  switch (status) {
    case TrialStatus::kOk: return "ok";
    case TrialStatus::kInvalid: return "invalid";
    case TrialStatus::kInterrupted: return "interrupted";
    case TrialStatus::kFailed: break;
  }
  return "failed";
}

Json trial_to_json(const TrialRecord& record) {
  const TrialSample& s = record.sample;
  return {{"plan_sha256", record.plan_sha256},
          {"arm", word(record.role)},
          {"pair", record.pair},
          {"attempt", record.attempt},
          {"warmup", record.warmup},
          {"position", record.position},
          {"seed", record.seed},
          {"status", word(record.status)},
          {"reason", record.reason},
          {"wall_seconds", s.wall_seconds},
          {"cpu_seconds", record.cpu_seconds},
          {"training_seconds", record.training_seconds},
          {"peak_bytes", s.peak_bytes},
          {"memory_delta_bytes", record.memory_delta_bytes},
          {"tokens", or_null(s.tokens)},
          {"steps", or_null(s.steps)},
          {"train_loss", or_null(s.train_loss)},
          {"val_loss", or_null(s.val_loss)},
          {"first_loss", or_null(s.first_loss)},
          {"progress", or_null(s.progress)},
          {"adapter_init_sha256", s.adapter_init},
          {"notes", record.notes}};
}

Result<TrialRecord> trial_from_json(const Json& json, const std::string& source) {
  if (!json.is_object()) return Error{ErrorCode::kBadData, source + ": expected an object"};
  Reader in{json, source};
  TrialRecord record;
  record.plan_sha256 = in.text("plan_sha256");
  const std::string arm = in.text("arm");
  record.role = arm == "baseline" ? ArmRole::kBaseline : ArmRole::kCandidate;
  record.pair = static_cast<std::size_t>(in.count("pair"));
  record.attempt = static_cast<std::size_t>(in.count("attempt"));
  record.warmup = in.boolean("warmup");
  record.position = static_cast<int>(in.number("position", 0));
  record.seed = in.count("seed");
  const std::string status = in.text("status");
  bool known = arm == "baseline" || arm == "candidate";
  if (!known && in.wrong.empty()) in.wrong = "arm";
  known = false;
  for (const TrialStatus one : {TrialStatus::kOk, TrialStatus::kInvalid, TrialStatus::kFailed, TrialStatus::kInterrupted}) {
    if (status != word(one)) continue;
    record.status = one;
    known = true;
  }
  if (!known && in.wrong.empty()) in.wrong = "status";
  record.reason = in.text("reason");
  TrialSample& s = record.sample;
  s.wall_seconds = in.number("wall_seconds", 0);
  record.cpu_seconds = in.number("cpu_seconds", 0);
  record.training_seconds = in.number("training_seconds", 0);
  s.peak_bytes = in.number("peak_bytes", 0);
  record.memory_delta_bytes = in.number("memory_delta_bytes", 0);
  s.tokens = in.optional<std::int64_t>("tokens");
  s.steps = in.optional<std::int64_t>("steps");
  s.train_loss = in.optional<double>("train_loss");
  s.val_loss = in.optional<double>("val_loss");
  s.first_loss = in.optional<double>("first_loss");
  s.progress = in.optional<double>("progress");
  s.adapter_init = in.text("adapter_init_sha256");
  if (const Json* notes = in.field("notes")) record.notes = *notes;
  // Times and peaks of a trial that counts are divided by each other.
  if (record.status == TrialStatus::kOk && (s.wall_seconds <= 0 || s.peak_bytes <= 0) && in.wrong.empty())
    in.wrong = s.wall_seconds <= 0 ? "wall_seconds" : "peak_bytes";
  if (!in.wrong.empty()) return Error{ErrorCode::kBadData, fmt::format("{}: {} is missing or has an impossible value", source, in.wrong)};
  return record;
}

}  // namespace evolora
