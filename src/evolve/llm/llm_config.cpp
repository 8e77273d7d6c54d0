// Settings -> LlmConfig, one small function per kind of key.
#include "evolve/llm/llm_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>

#include "evolve/judge.h"
#include "evolve/llm/config_keys.h"
#include "evolve/llm/untrusted_text.h"
#include "train/request_yaml.h"

namespace evolora {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kMostTokensOfAnAnswer = 1 << 20;

// What several keys decide together, until the file is read.
struct Draft {
  LlmConfig config;
  fs::path folder;
  std::optional<double> temperature = 0.7, top_p;
  std::int64_t max_tokens = 4096;
  std::optional<std::string> name, primary, secondary;
  std::optional<double> primary_weight, secondary_weight;
  struct Model {
    LlmModel model;
    std::optional<double> prompt_price, completion_price;
    bool has_temperature = false, has_top_p = false, has_max_tokens = false;
    std::string place;
  };
  std::vector<Model> models;
  std::optional<bool> diff_based;
  std::optional<double> rewrite_share;
  std::optional<std::map<LlmOperator, double>> operators;

  Model& model(const ConfigSetting& s) {
    if (models.size() <= s.item) models.resize(s.item + 1);
    models[s.item].place = s.setting.place;
    return models[s.item];
  }
};

using Reader = std::function<Status(const ConfigSetting&, Draft&)>;

Result<double> number_of(const ConfigSetting& s, double low, double below, const char* range) {
  double value = 0;
  TRY(set_number(s.setting, low, below, range, value));
  return value;
}
Result<std::int64_t> integer_of(const ConfigSetting& s, std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  TRY(set_integer(s.setting, low, high, value));
  return value;
}
Result<std::string> string_of(const ConfigSetting& s) {
  std::string value;
  TRY(set_string(s.setting, value));
  return value;
}

Result<double> temperature_of(const ConfigSetting& s) { return number_of(s, 0, 2.0001, "a number in [0, 2]"); }
Result<double> top_p_of(const ConfigSetting& s) { return number_of(s, 0, 1.0001, "a number in [0, 1]"); }
Result<double> weight_of(const ConfigSetting& s) { return number_of(s, 1e-6, 1e6, "a number above 0"); }
Result<double> price_of(const ConfigSetting& s) { return number_of(s, 0, 1e6, "dollars per million tokens, 0 or more"); }

// ${NAME}, OpenEvolve's way to name a variable. A key itself is refused without being repeated.
Status read_api_key(const ConfigSetting& s, Draft& draft) {
  const std::string text = s.setting.value.is_string() ? s.setting.value.get<std::string>() : "";
  if (!text.starts_with("${") || !text.ends_with("}") || text.size() < 4) {
    return setting_error(s.setting, ErrorCode::kUsage,
                         "a key does not stand in a configuration file: write ${NAME} for environment variable NAME, or use api_key_file");
  }
  draft.config.api_key_env = text.substr(2, text.size() - 3);
  return {};
}

Reader operator_share(LlmOperator op) {
  return [op](const ConfigSetting& s, Draft& draft) -> Status {
    if (!draft.operators) draft.operators.emplace();
    (*draft.operators)[op] = TRY(number_of(s, 0, kInfinity, "a number, 0 or more"));
    return {};
  };
}

// What a key's reader does with the value.
Reader integer(std::int64_t low, std::int64_t high, std::function<void(Draft&, std::int64_t)> store) {
  return [=](const ConfigSetting& s, Draft& draft) -> Status {
    store(draft, TRY(integer_of(s, low, high)));
    return {};
  };
}
Reader number(Result<double> (*read)(const ConfigSetting&), std::function<void(const ConfigSetting&, Draft&, double)> store) {
  return [=](const ConfigSetting& s, Draft& draft) -> Status {
    store(s, draft, TRY(read(s)));
    return {};
  };
}
Reader text(std::function<void(const ConfigSetting&, Draft&, const std::string&)> store) {
  return [=](const ConfigSetting& s, Draft& draft) -> Status {
    store(s, draft, TRY(string_of(s)));
    return {};
  };
}
Reader boolean(std::function<void(Draft&, bool)> store) {
  return [=](const ConfigSetting& s, Draft& draft) -> Status {
    bool value = false;
    TRY(set_bool(s.setting, value));
    store(draft, value);
    return {};
  };
}

void add_endpoint_readers(std::map<std::string_view, Reader>& r) {
  r["llm.api_base"] = text([](const auto&, Draft& d, const std::string& v) { d.config.endpoint.api_base = v; });
  r["llm.api_key"] = read_api_key;
  r["llm.api_key_env"] = text([](const auto&, Draft& d, const std::string& v) { d.config.api_key_env = v; });
  r["llm.api_key_file"] = text([](const auto&, Draft& d, const std::string& v) { d.config.api_key_file = d.folder / v; });
  r["llm.proxy"] = text([](const auto&, Draft& d, const std::string& v) { d.config.endpoint.proxy = v; });
  r["llm.timeout"] = number([](const ConfigSetting& s) { return number_of(s, 0.1, 86401, "seconds in [0.1, 86400]"); },
                            [](const auto&, Draft& d, double v) { d.config.endpoint.timeout_seconds = v; });
  r["llm.retries"] = integer(0, 20, [](Draft& d, std::int64_t v) { d.config.endpoint.retries = static_cast<int>(v); });
  r["llm.retry_delay"] = number([](const ConfigSetting& s) { return number_of(s, 0, 601, "seconds in [0, 600]"); },
                                [](const auto&, Draft& d, double v) { d.config.endpoint.retry_delay_seconds = v; });
  r["llm.random_seed"] = integer(0, 1LL << 52, [](Draft& d, std::int64_t v) { d.config.proposer.random_seed = v; });
  r["llm.reasoning_effort"] = text([](const auto&, Draft& d, const std::string& v) { d.config.proposer.reasoning_effort = v; });
  r["llm.manual_mode"] = boolean([](Draft& d, bool v) { d.config.manual = v; });
}

void add_model_readers(std::map<std::string_view, Reader>& r) {
  r["llm.name"] = text([](const auto&, Draft& d, const std::string& v) { d.name = v; });
  r["llm.primary_model"] = text([](const auto&, Draft& d, const std::string& v) { d.primary = v; });
  r["llm.secondary_model"] = text([](const auto&, Draft& d, const std::string& v) { d.secondary = v; });
  r["llm.primary_model_weight"] = number(weight_of, [](const auto&, Draft& d, double v) { d.primary_weight = v; });
  r["llm.secondary_model_weight"] = number(weight_of, [](const auto&, Draft& d, double v) { d.secondary_weight = v; });
  r["llm.temperature"] = number(temperature_of, [](const auto&, Draft& d, double v) { d.temperature = v; });
  r["llm.top_p"] = number(top_p_of, [](const auto&, Draft& d, double v) { d.top_p = v; });
  r["llm.max_tokens"] = integer(1, kMostTokensOfAnAnswer, [](Draft& d, std::int64_t v) { d.max_tokens = v; });
  r["llm.models[].name"] = text([](const auto& s, Draft& d, const std::string& v) { d.model(s).model.name = v; });
  r["llm.models[].weight"] = number(weight_of, [](const auto& s, Draft& d, double v) { d.model(s).model.weight = v; });
  r["llm.models[].temperature"] = number(temperature_of, [](const auto& s, Draft& d, double v) {
    d.model(s).model.temperature = v;
    d.model(s).has_temperature = true;
  });
  r["llm.models[].top_p"] = number(top_p_of, [](const auto& s, Draft& d, double v) {
    d.model(s).model.top_p = v;
    d.model(s).has_top_p = true;
  });
  r["llm.models[].max_tokens"] = [](const ConfigSetting& s, Draft& d) -> Status {
    d.model(s).model.max_tokens = TRY(integer_of(s, 1, kMostTokensOfAnAnswer));
    d.model(s).has_max_tokens = true;
    return {};
  };
  r["llm.models[].prompt_price"] = number(price_of, [](const auto& s, Draft& d, double v) { d.model(s).prompt_price = v; });
  r["llm.models[].completion_price"] = number(price_of, [](const auto& s, Draft& d, double v) { d.model(s).completion_price = v; });
}

void add_prompt_readers(std::map<std::string_view, Reader>& r) {
  r["prompt.template_dir"] = text([](const auto&, Draft& d, const std::string& v) { d.config.template_folder = d.folder / v; });
  r["prompt.system_message"] = text([](const auto&, Draft& d, const std::string& v) { d.config.proposer.prompt.instructions = v; });
  r["prompt.num_top_programs"] = integer(0, 100, [](Draft& d, std::int64_t v) { d.config.proposer.prompt.num_top_programs = static_cast<int>(v); });
  r["prompt.num_diverse_programs"] =
      integer(0, 100, [](Draft& d, std::int64_t v) { d.config.proposer.prompt.num_diverse_programs = static_cast<int>(v); });
  r["prompt.include_artifacts"] = boolean([](Draft& d, bool v) { d.config.proposer.prompt.include_artifacts = v; });
  r["prompt.max_artifact_bytes"] =
      integer(0, static_cast<std::int64_t>(kArtifactBytes), [](Draft& d, std::int64_t v) { d.config.proposer.prompt.max_artifact_bytes = v; });
  r["prompt.max_prompt_bytes"] = integer(1000, 1 << 24, [](Draft& d, std::int64_t v) { d.config.proposer.prompt.max_prompt_bytes = v; });
}

void add_search_readers(std::map<std::string_view, Reader>& r) {
  r["max_iterations"] = integer(1, 1 << 30, [](Draft& d, std::int64_t v) { d.config.search.evaluations = v; });
  r["random_seed"] = integer(0, 1LL << 52, [](Draft& d, std::int64_t v) { d.config.search.seed = v; });
  r["early_stopping_patience"] = integer(1, 1 << 30, [](Draft& d, std::int64_t v) { d.config.search.stagnation = v; });
  r["database.num_islands"] = integer(1, 1000, [](Draft& d, std::int64_t v) { d.config.search.islands = v; });
  r["database.migration_interval"] = integer(1, 1 << 30, [](Draft& d, std::int64_t v) { d.config.search.migration_interval = v; });
  r["database.exploration_ratio"] = number([](const ConfigSetting& s) { return number_of(s, 0, 1.0001, "a number in [0, 1]"); },
                                           [](const auto&, Draft& d, double v) { d.config.search.explore = v; });
  r["max_code_length"] = integer(1, 1 << 24, [](Draft& d, std::int64_t v) { d.config.proposer.max_source_bytes = v; });
  r["diff_based_evolution"] = boolean([](Draft& d, bool v) { d.diff_based = v; });
  r["full_rewrite_probability"] = number([](const ConfigSetting& s) { return number_of(s, 0, 1.0001, "a number in [0, 1]"); },
                                         [](const auto&, Draft& d, double v) { d.rewrite_share = v; });
  r["operators.diff"] = operator_share(LlmOperator::kDiff);
  r["operators.rewrite"] = operator_share(LlmOperator::kRewrite);
  r["operators.crossover"] = operator_share(LlmOperator::kCrossover);
  r["operators.repair"] = operator_share(LlmOperator::kRepair);
  r["operators.genome"] = operator_share(LlmOperator::kGenome);
  r["budget.tokens"] = integer(1, 1LL << 50, [](Draft& d, std::int64_t v) { d.config.budget.tokens = v; });
  r["budget.dollars"] = [](const ConfigSetting& s, Draft& d) -> Status {
    const double amount = TRY(number_of(s, 0, 1e6, "dollars in [0, 1000000)"));
    d.config.budget.money = TRY(picodollars(amount));
    return {};
  };
}

const std::map<std::string_view, Reader>& readers() {
  static const std::map<std::string_view, Reader> all = [] {
    std::map<std::string_view, Reader> r;
    add_endpoint_readers(r);
    add_model_readers(r);
    add_prompt_readers(r);
    add_search_readers(r);
    return r;
  }();
  return all;
}

Error wrong(const Draft& draft, const std::string& what) { return {ErrorCode::kUsage, fmt::format("{}: {}", draft.config.source, what)}; }

Status settle_models(Draft& draft) {
  const int ways = (draft.models.empty() ? 0 : 1) + (draft.name ? 1 : 0) + (draft.primary || draft.secondary ? 1 : 0);
  if (ways > 1)
    return wrong(draft, "models are named in several ways: use either llm.models, llm.name, or llm.primary_model with llm.secondary_model");
  if ((draft.primary_weight && !draft.primary) || (draft.secondary_weight && !draft.secondary)) {
    return wrong(draft, "a weight of a model that is not named: llm.primary_model_weight goes with llm.primary_model, and the second likewise");
  }
  if (draft.name) draft.models.push_back({.model = {.name = *draft.name}});
  if (draft.primary) draft.models.push_back({.model = {.name = *draft.primary, .weight = draft.primary_weight.value_or(1)}});
  if (draft.secondary) draft.models.push_back({.model = {.name = *draft.secondary, .weight = draft.secondary_weight.value_or(0.2)}});
  if (draft.models.empty() && draft.config.manual) draft.models.push_back({.model = {.name = "manual"}});
  if (draft.models.empty()) return wrong(draft, "no model: name one in llm.name, or several under llm.models");
  for (Draft::Model& entry : draft.models) {
    LlmModel& model = entry.model;
    if (model.name.empty()) return wrong(draft, "every entry of llm.models needs a name");
    if (!entry.has_temperature) model.temperature = draft.temperature;
    if (!entry.has_top_p) model.top_p = draft.top_p;
    if (!entry.has_max_tokens) model.max_tokens = draft.max_tokens;
    const bool has_prices = entry.prompt_price && entry.completion_price;
    if (draft.config.budget.money && !has_prices) {
      return wrong(draft, fmt::format("budget.dollars needs prompt_price and completion_price of model '{}' under llm.models", model.name));
    }
    const auto same = [&](const LlmModel& other) { return other.name == model.name; };
    auto& known = draft.config.proposer.models;
    if (std::any_of(known.begin(), known.end(), same)) return wrong(draft, fmt::format("model '{}' is listed twice", model.name));
    known.push_back(model);
    // A price per million tokens in dollars is the price of a token in millionths of a dollar.
    constexpr double kMillion = 1e6;
    const Picodollars prompt = TRY(picodollars(entry.prompt_price.value_or(0) / kMillion));
    const Picodollars completion = TRY(picodollars(entry.completion_price.value_or(0) / kMillion));
    draft.config.endpoint.prices[model.name] = {prompt, completion};
  }
  return {};
}

Status settle_operators(Draft& draft) {
  if (draft.operators && (draft.diff_based || draft.rewrite_share)) {
    return wrong(draft, "operators and diff_based_evolution or full_rewrite_probability say the same thing twice: keep one");
  }
  auto& operators = draft.config.proposer.operators;
  if (draft.operators) operators = *draft.operators;
  if (draft.diff_based || draft.rewrite_share) {
    const double rewrites = draft.diff_based.value_or(true) ? draft.rewrite_share.value_or(0) : 1;
    if (!draft.diff_based.value_or(true) && draft.rewrite_share.value_or(0) > 0) {
      return wrong(draft, "full_rewrite_probability needs diff_based_evolution: true");
    }
    operators = {{LlmOperator::kDiff, 1 - rewrites}, {LlmOperator::kRewrite, rewrites}};
  }
  double sum = 0;
  for (const auto& [op, share] : operators) sum += share;
  if (sum > 0) return {};
  return wrong(draft, "operators: at least one needs a share above 0");
}

Status settle_endpoint(Draft& draft) {
  LlmConfig& config = draft.config;
  if (!config.api_key_env.empty() && !config.api_key_file.empty())
    return wrong(draft, "both an environment variable and a file for the API key: keep one");
  if (config.manual) return {};
  if (config.endpoint.api_base.empty()) return wrong(draft, "llm.api_base is missing: the address of the endpoint, such as http://127.0.0.1:8080/v1");
  const bool has_key = !config.api_key_env.empty() || !config.api_key_file.empty();
  Result<std::string> base = check_api_base(config.endpoint.api_base, has_key);
  if (!base.ok()) return wrong(draft, "llm." + base.error().message);
  config.endpoint.api_base = *base;
  return {};
}

}  // namespace

Result<LlmConfig> read_llm_config(FileSystem& files, const fs::path& path) {
  const std::vector<Setting> settings = TRY(read_request_yaml(files, path));
  const std::vector<ConfigSetting> found = TRY(check_config_keys(settings));
  Draft draft;
  draft.config.source = path.string();
  draft.folder = path.parent_path();
  for (const ConfigSetting& setting : found) TRY(readers().at(setting.setting.key)(setting, draft));
  TRY(settle_models(draft));
  TRY(settle_operators(draft));
  TRY(settle_endpoint(draft));
  draft.config.endpoint.seed = static_cast<std::uint64_t>(draft.config.search.seed.value_or(0));
  return std::move(draft.config);
}

Result<Secret> take_key(const LlmConfig& config) {
  if (!config.api_key_env.empty()) return take_secret_from_environment(config.api_key_env);
  if (!config.api_key_file.empty()) return read_secret_file(config.api_key_file);
  return Secret();
}

}  // namespace evolora
