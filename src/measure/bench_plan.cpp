// The plan as JSON, and what follows from it.
#include "measure/bench_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "base/sha256.h"
#include "measure/alpha_spending.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Error unfit_field(const std::string& source, const char* field, const char* expected) {
  return Error{ErrorCode::kBadData, fmt::format("{}: {}: expected {}", source, field, expected)};
}

Result<double> number_of(const Json& json, const std::string& source, const char* field, double low, double high) {
  const auto found = json.find(field);
  if (found == json.end() || !found->is_number() || !(found->get<double>() >= low && found->get<double>() <= high)) {
    return Error{ErrorCode::kBadData, fmt::format("{}: {}: expected a number from {} to {}", source, field, low, high)};
  }
  return found->get<double>();
}

Result<std::uint64_t> count_of(const Json& json, const std::string& source, const char* field) {
  const auto found = json.find(field);
  if (found == json.end() || !found->is_number_unsigned()) return unfit_field(source, field, "a whole number, 0 or more");
  return found->get<std::uint64_t>();
}

Result<std::string> text_of(const Json& json, const std::string& source, const char* field) {
  const auto found = json.find(field);
  if (found == json.end() || !found->is_string()) return unfit_field(source, field, "a text");
  return found->get<std::string>();
}

}  // namespace

Json plan_to_json(const BenchPlan& plan) {
  Json out = {{"format", "evolora bench 1"},
              {"design", plan.design == BenchDesign::kPaired ? "paired" : "sequential"},
              {"baseline", arm_to_json(plan.baseline)},
              {"candidate", arm_to_json(plan.candidate)},
              {"common", plan.common},
              {"rules", rules_to_json(plan.rules)},
              {"seed", plan.seed},
              {"order_seed", plan.order_seed},
              {"looks", plan.looks},
              {"precision", plan.precision},
              {"trials", plan.trials},
              {"timeout_seconds", plan.timeout_seconds},
              {"model_sha256", plan.model_sha256},
              {"data_sha256", plan.data_sha256},
              {"versions", plan.versions},
              {"machine", plan.machine}};
  // Other plans stay as they were, to the byte.
  if (plan.futility) out["futility"] = true;
  if (!plan.wanted.empty()) out["wanted"] = plan.wanted;
  if (plan.looks.size() > 1 && plan.gate_spending) out["gate_spending"] = true;
  return out;
}

Result<BenchPlan> plan_from_json(const Json& json, const std::string& source) {
  if (!json.is_object() || json.value("format", Json()) != "evolora bench 1") return unfit_field(source, "format", "\"evolora bench 1\"");
  BenchPlan plan;
  const std::string design = TRY(text_of(json, source, "design"));
  if (design != "paired" && design != "sequential") return unfit_field(source, "design", "paired or sequential");
  plan.design = design == "paired" ? BenchDesign::kPaired : BenchDesign::kSequential;
  plan.baseline = TRY(arm_from_json(json.value("baseline", Json()), source + ": baseline"));
  plan.candidate = TRY(arm_from_json(json.value("candidate", Json()), source + ": candidate"));
  plan.common = json.value("common", Json());
  if (!plan.common.is_object()) return unfit_field(source, "common", "an object of training settings");
  plan.rules = TRY(rules_from_json(json.value("rules", Json()), source));
  plan.seed = TRY(count_of(json, source, "seed"));
  plan.order_seed = TRY(count_of(json, source, "order_seed"));
  const Json looks = json.value("looks", Json());
  if (!looks.is_array() || looks.empty()) return unfit_field(source, "looks", "a list of numbers of pairs");
  for (const Json& look : looks) {
    const bool fits =
        look.is_number_unsigned() && look.get<std::size_t>() <= 1000000 && look.get<std::size_t>() > (plan.looks.empty() ? 0 : plan.looks.back());
    if (!fits) return unfit_field(source, "looks", "growing numbers of pairs");
    plan.looks.push_back(look.get<std::size_t>());
  }
  plan.precision = TRY(number_of(json, source, "precision", 0, 1));
  const Json futility = json.value("futility", Json(false));
  if (!futility.is_boolean()) return unfit_field(source, "futility", "true or false");
  plan.futility = futility.get<bool>();
  const Json wanted = json.value("wanted", Json(""));
  if (wanted != "" && wanted != "speed" && wanted != "memory") return unfit_field(source, "wanted", "speed or memory");
  plan.wanted = wanted.get<std::string>();
  const Json gate_spending = json.value("gate_spending", Json(false));
  if (!gate_spending.is_boolean()) return unfit_field(source, "gate_spending", "true or false");
  plan.gate_spending = gate_spending.get<bool>();
  plan.trials = static_cast<std::size_t>(TRY(count_of(json, source, "trials")));
  plan.timeout_seconds = TRY(number_of(json, source, "timeout_seconds", 0, 1e9));
  plan.model_sha256 = TRY(text_of(json, source, "model_sha256"));
  plan.data_sha256 = TRY(text_of(json, source, "data_sha256"));
  plan.versions = json.value("versions", Json());
  plan.machine = json.value("machine", Json());
  return plan;
}

std::string plan_digest(const BenchPlan& plan) { return sha256_hex(plan_to_json(plan).dump()); }

std::vector<std::size_t> growing_looks(std::size_t most) {
  std::vector<std::size_t> looks;
  for (std::size_t n = 6; n < most; n = std::max(n + 2, n * 4 / 3)) looks.push_back(n);
  looks.push_back(most);
  return looks;
}

std::vector<LookLevels> look_levels(const BenchPlan& plan) {
  std::vector<double> fractions;
  for (const std::size_t look : plan.looks) fractions.push_back(static_cast<double>(look) / static_cast<double>(plan.looks.back()));
  const std::vector<double> claims = spending_levels(plan.rules.alpha, fractions);
  const std::vector<double> gates = spending_levels(2 * kGateAlpha, fractions, pocock_spent);  // two-sided, of which a gate's side has half
  std::vector<LookLevels> levels;
  for (std::size_t look = 0; look < plan.looks.size(); ++look) levels.push_back({claims[look], plan.gate_spending ? gates[look] / 2 : kGateAlpha});
  return levels;
}

bool candidate_first(const BenchPlan& plan, std::size_t pair) { return (philox4x32(pair, plan.order_seed)[0] & 1U) != 0; }

std::uint64_t trial_seed(const BenchPlan& plan, ArmRole role, std::size_t index) {
  if (plan.design == BenchDesign::kPaired) return plan.seed + index;
  return (role == ArmRole::kBaseline ? 42 : 100) + index;
}

}  // namespace evolora
