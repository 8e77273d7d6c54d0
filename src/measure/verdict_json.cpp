// Rules and verdicts as JSON.
#include <fmt/format.h>

#include "base/suggest.h"
#include "measure/verdict.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

struct RuleField {
  const char* name;
  double VerdictRules::*member;
};

constexpr RuleField kRuleFields[] = {{"alpha", &VerdictRules::alpha},
                                     {"min_effect", &VerdictRules::min_effect},
                                     {"regression_margin", &VerdictRules::regression_margin},
                                     {"loss_margin", &VerdictRules::loss_margin},
                                     {"progress_margin", &VerdictRules::progress_margin},
                                     {"token_margin", &VerdictRules::token_margin}};

Json interval_to_json(const Interval& interval) { return Json::array({interval.low, interval.high}); }

}  // namespace

Json rules_to_json(const VerdictRules& rules) {
  Json json;
  for (const RuleField& field : kRuleFields) json[field.name] = rules.*field.member;
  return json;
}

Result<VerdictRules> rules_from_json(const Json& json, const std::string& source) {
  VerdictRules rules;
  for (const RuleField& field : kRuleFields) {
    if (!json.is_object() || !json.contains(field.name) || !json[field.name].is_number()) {
      return Error{ErrorCode::kBadData, fmt::format("{}: rules.{}: expected a number", source, field.name)};
    }
    const double value = json[field.name].get<double>();
    const bool is_alpha = field.member == &VerdictRules::alpha;
    if (!(value >= 0 && value < 1) || (is_alpha && (value <= 0 || value > 0.5))) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: rules.{}: expected a number in {}, got {}", source, field.name, is_alpha ? "(0, 0.5]" : "[0, 1)", value)};
    }
    rules.*field.member = value;
  }
  for (const double margin : {rules.loss_margin, rules.progress_margin}) {
    if (margin <= 0) return Error{ErrorCode::kBadData, fmt::format("{}: rules: loss_margin and progress_margin must be above 0", source)};
  }
  return rules;
}

Json verdict_to_json(const Verdict& verdict) {
  Json json = {{"decision", word(verdict.decision)},
               {"reason", verdict.reason},
               {"pairs", verdict.pairs},
               {"more_pairs", verdict.more_pairs ? Json(*verdict.more_pairs) : Json()},
               {"level", verdict.level},
               {"claims", Json::array()},
               {"gates", Json::array()}};
  for (const Claim& claim : verdict.claims) {
    json["claims"].push_back({{"name", claim.name},
                              {"ratio", claim.ratio},
                              {"interval", interval_to_json(claim.interval)},
                              {"bca", interval_to_json(claim.bca)},
                              {"p_better", claim.p_better},
                              {"p_worse", claim.p_worse},
                              {"wilcoxon_p", claim.wilcoxon_p},
                              {"better", claim.better},
                              {"worse", claim.worse},
                              {"not_worse", claim.not_worse},
                              {"no_gain", claim.no_gain}});
  }
  for (const Gate& gate : verdict.gates) {
    json["gates"].push_back({{"name", gate.name},
                             {"state", word(gate.state)},
                             {"n", gate.n},
                             {"mean", gate.mean},
                             {"interval", interval_to_json(gate.interval)},
                             {"p", gate.p},
                             {"detail", gate.detail}});
  }
  return json;
}

}  // namespace evolora
