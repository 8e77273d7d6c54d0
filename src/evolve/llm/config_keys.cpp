// The table, and the walk over a file that looks its keys up.
#include "evolve/llm/config_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kCascade = "the judge's gates are fixed: a candidate passes one after the other";
constexpr std::string_view kJudgeOnce = "a refusal is final, and measurements are repeated where they are noisy";
constexpr std::string_view kArchive = "prompts, answers, sources and measurements are always kept in the archive";
constexpr std::string_view kOneEndpoint = "one endpoint serves all models of a search; set it under llm";
constexpr std::string_view kNoOpThere = "it does nothing in OpenEvolve either";
constexpr std::string_view kTemplates = "write a template of your own into prompt.template_dir instead";
constexpr std::string_view kNovelty = "equal candidates are recognised by digest before anything is measured";
constexpr std::string_view kFixedGrid = "the grid's axes have fixed meanings that the judge measures";
constexpr std::string_view kParents = "parents are chosen from the island's grid; there is no separate archive";
constexpr std::string_view kChanges = "prompts show the programs themselves; prompt.max_prompt_bytes bounds them";
constexpr std::string_view kTrace = "the archive is the trace: see evolve show, or report";
constexpr std::string_view kOtherProvider = "only OpenAI-compatible endpoints are spoken to";

std::string printable(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

const ConfigKey* find_key(std::string_view path) {
  const auto& keys = config_keys();
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& key) { return key.path == path; });
  return found == keys.end() ? nullptr : &*found;
}

bool is_block(std::string_view path) {
  const std::string prefix = std::string(path) + ".";
  return std::any_of(config_keys().begin(), config_keys().end(), [&](const ConfigKey& key) { return key.path.starts_with(prefix); });
}

// The known keys beside one of this path, without their block.
std::vector<std::string> siblings(std::string_view path) {
  const std::size_t dot = path.rfind('.');
  const std::string prefix = dot == std::string_view::npos ? "" : std::string(path.substr(0, dot + 1));
  std::vector<std::string> names;
  for (const ConfigKey& key : config_keys()) {
    if (!key.path.starts_with(prefix)) continue;
    const std::string_view rest = key.path.substr(prefix.size());
    const std::string name(rest.substr(0, rest.find_first_of(".[")));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

class KeyWalk {
 public:
  Status visit(const Setting& setting, std::size_t item) {
    if (is_block(setting.key)) return visit_block(setting, item);
    if (is_block(setting.key + "[]")) return visit_list(setting);
    const ConfigKey* key = find_key(setting.key);
    if (key == nullptr) {
      const std::string name = setting.key.substr(setting.key.rfind('.') == std::string::npos ? 0 : setting.key.rfind('.') + 1);
      return setting_error(setting, ErrorCode::kUsage, fmt::format("unknown key{}", did_you_mean(name, siblings(setting.key))));
    }
    if (setting.value.is_null()) return {};  // as in OpenEvolve: the default
    if (key->use == KeyUse::kRefused) return setting_error(setting, ErrorCode::kUsage, fmt::format("this key would do nothing here: {}", key->note));
    if (key->use == KeyUse::kOnly && printable(setting.value) != key->only) {
      return setting_error(setting, ErrorCode::kUsage, fmt::format("expected {}, got {}: {}", key->only, printable(setting.value), key->note));
    }
    if (key->use == KeyUse::kUsed) found.push_back({setting, item});
    return {};
  }

  std::vector<ConfigSetting> found;

 private:
  static Setting inside(const Setting& outer, const std::string& path, const std::string& name, const Json& value) {
    const auto place = outer.nested_places.find(name);
    return {.key = path + "." + name,
            .value = value,
            .label = path + "." + name,
            .place = place == outer.nested_places.end() ? outer.place : place->second};
  }

  Status visit_block(const Setting& setting, std::size_t item) {
    if (setting.value.is_null()) return {};
    if (!setting.value.is_object()) return expected_in_setting(setting, "a block of keys");
    for (const auto& [name, value] : setting.value.items()) TRY(visit(inside(setting, setting.key, name, value), item));
    return {};
  }

  Status visit_list(const Setting& setting) {
    if (setting.value.is_null()) return {};
    if (!setting.value.is_array()) return expected_in_setting(setting, "a list");
    std::size_t item = 0;
    for (const Json& entry : setting.value) {
      if (!entry.is_object()) return expected_in_setting(setting, "a list of blocks, each with a name");
      for (const auto& [name, value] : entry.items()) TRY(visit(inside(setting, setting.key + "[]", name, value), item));
      ++item;
    }
    return {};
  }
};

}  // namespace

const std::vector<ConfigKey>& config_keys() {
  using enum KeyUse;
  static const std::vector<ConfigKey> keys = {
      {"max_iterations", true, kUsed, "evaluations that the search may make"},
      {"random_seed", true, kUsed, "seed of the search"},
      {"early_stopping_patience", true, kUsed, "evaluations without progress after which the search ends"},
      {"diff_based_evolution", true, kUsed, "true: operator diff; false: operator rewrite"},
      {"full_rewrite_probability", true, kUsed, "share of operator rewrite beside diff"},
      {"max_code_length", true, kUsed, "most bytes of a candidate's source"},
      {"enforce_evolve_blocks", true, kOnly, "only what stands between the markers may ever change", "true"},
      {"checkpoint_interval", true, kRefused, "every evaluation is in the archive when it ends; continue with --resume"},
      {"checkpoint_on_improvement", true, kRefused, "every evaluation is in the archive when it ends; continue with --resume"},
      {"log_level", true, kRefused, "progress goes to the terminal, everything else into the archive"},
      {"log_dir", true, kRefused, "progress goes to the terminal, everything else into the archive"},
      {"logger_prefix", true, kRefused, "progress goes to the terminal, everything else into the archive"},
      {"language", true, kRefused, "the pack's target says it"},
      {"file_suffix", true, kRefused, "the pack's files have their names"},
      {"diff_pattern", true, kRefused, "edits have one form, matched exactly; templates must ask for it"},
      {"convergence_threshold", true, kRefused, "progress is a better lower confidence bound; set early_stopping_patience"},
      {"early_stopping_metric", true, kRefused, "the search's objective decides"},
      {"max_tasks_per_child", true, kRefused, "every candidate has processes of its own"},

      {"llm.api_base", true, kUsed, "address of the endpoint, up to /v1"},
      {"llm.api_key", true, kUsed, "only as ${NAME}: the environment variable with the key"},
      {"llm.api_key_env", false, kUsed, "the environment variable with the key"},
      {"llm.api_key_file", false, kUsed, "file with the key, mode 0600"},
      {"llm.proxy", false, kUsed, "proxy of the requests; none without it, whatever the environment says"},
      {"llm.name", true, kUsed, "the one model"},
      {"llm.weight", true, kRefused, "one model needs no weight; list several under llm.models"},
      {"llm.primary_model", true, kUsed, "first model"},
      {"llm.primary_model_weight", true, kUsed, "its weight"},
      {"llm.secondary_model", true, kUsed, "second model"},
      {"llm.secondary_model_weight", true, kUsed, "its weight; without it 0.2"},
      {"llm.temperature", true, kUsed, "of all models; without it 0.7"},
      {"llm.top_p", true, kUsed, "of all models; without it not sent"},
      {"llm.max_tokens", true, kUsed, "most tokens of an answer; without it 4096"},
      {"llm.timeout", true, kUsed, "seconds for one attempt; without it 60"},
      {"llm.retries", true, kUsed, "further attempts after the first; without it 3"},
      {"llm.retry_delay", true, kUsed, "seconds before the second attempt, doubling; without it 5"},
      {"llm.random_seed", true, kUsed, "seed sent to the endpoint, plus the number of the exchange"},
      {"llm.reasoning_effort", true, kUsed, "sent to the endpoint"},
      {"llm.manual_mode", true, kUsed, "prompts go to files, answers come from files"},
      {"llm.provider", true, kOnly, kOtherProvider, "\"openai\""},
      {"llm.init_client", true, kRefused, kOtherProvider},
      {"llm.system_message", true, kRefused, "use prompt.system_message"},
      {"llm.evaluator_models", true, kRefused, "models propose; the judge measures"},
      {"llm.max_budget_usd", true, kRefused, "use budget.dollars, which holds for the whole search"},
      {"llm.max_ai_credits", true, kRefused, "use budget.tokens"},
      {"llm.allow_all_tools", true, kRefused, "models get no tools"},

      {"llm.models[].name", true, kUsed, "name of a model"},
      {"llm.models[].weight", true, kUsed, "prior of the choice between models; without it 1"},
      {"llm.models[].temperature", true, kUsed, "of this model"},
      {"llm.models[].top_p", true, kUsed, "of this model"},
      {"llm.models[].max_tokens", true, kUsed, "of this model"},
      {"llm.models[].prompt_price", false, kUsed, "dollars for a million tokens of prompts"},
      {"llm.models[].completion_price", false, kUsed, "dollars for a million tokens of answers"},
      {"llm.models[].api_base", true, kRefused, kOneEndpoint},
      {"llm.models[].api_key", true, kRefused, kOneEndpoint},
      {"llm.models[].provider", true, kOnly, kOtherProvider, "\"openai\""},
      {"llm.models[].init_client", true, kRefused, kOtherProvider},
      {"llm.models[].system_message", true, kRefused, "use prompt.system_message"},
      {"llm.models[].timeout", true, kRefused, kOneEndpoint},
      {"llm.models[].retries", true, kRefused, kOneEndpoint},
      {"llm.models[].retry_delay", true, kRefused, kOneEndpoint},
      {"llm.models[].random_seed", true, kRefused, "use llm.random_seed"},
      {"llm.models[].reasoning_effort", true, kRefused, "use llm.reasoning_effort"},
      {"llm.models[].manual_mode", true, kRefused, "use llm.manual_mode"},
      {"llm.models[].max_budget_usd", true, kRefused, "use budget.dollars"},
      {"llm.models[].max_ai_credits", true, kRefused, "use budget.tokens"},
      {"llm.models[].allow_all_tools", true, kRefused, "models get no tools"},

      {"prompt.template_dir", true, kUsed, "folder with templates of your own (names and {{values}} are this program's)"},
      {"prompt.system_message", true, kUsed, "your own words, part of the system message"},
      {"prompt.num_top_programs", true, kUsed, "best programs shown; without it 3"},
      {"prompt.num_diverse_programs", true, kUsed, "other programs shown; without it 2"},
      {"prompt.include_artifacts", true, kUsed, "whether messages of compilers and gates are shown; without it true"},
      {"prompt.max_artifact_bytes", true, kUsed, "most bytes of them, at most 4096"},
      {"prompt.max_prompt_bytes", false, kUsed, "most bytes of a prompt; examples are left out to keep it; without it 60000"},
      {"prompt.artifact_security_filter", true, kOnly, "text of candidates and compilers is always filtered", "true"},
      {"prompt.use_template_stochasticity", true, kOnly, kTemplates, "false"},
      {"prompt.programs_as_changes_description", true, kOnly, kChanges, "false"},
      {"prompt.template_variations", true, kRefused, kTemplates},
      {"prompt.island_system_messages", true, kRefused, "all islands are told the same; use prompt.system_message"},
      {"prompt.evaluator_system_message", true, kRefused, "models propose; the judge measures"},
      {"prompt.system_message_changes_description", true, kRefused, kChanges},
      {"prompt.initial_changes_description", true, kRefused, kChanges},
      {"prompt.use_meta_prompting", true, kRefused, kNoOpThere},
      {"prompt.meta_prompt_weight", true, kRefused, kNoOpThere},
      {"prompt.suggest_simplification_after_chars", true, kRefused, kTemplates},
      {"prompt.include_changes_under_chars", true, kRefused, kChanges},
      {"prompt.concise_implementation_max_lines", true, kRefused, kTemplates},
      {"prompt.comprehensive_implementation_min_lines", true, kRefused, kTemplates},
      {"prompt.diff_summary_max_line_len", true, kRefused, kChanges},
      {"prompt.diff_summary_max_lines", true, kRefused, kChanges},
      {"prompt.code_length_threshold", true, kRefused, kTemplates},

      {"operators.diff", false, kUsed, "relative frequency of SEARCH/REPLACE edits"},
      {"operators.rewrite", false, kUsed, "of new contents of a block"},
      {"operators.crossover", false, kUsed, "of combining two programs"},
      {"operators.repair", false, kUsed, "of repairing what a gate refused"},
      {"operators.genome", false, kUsed, "of proposing settings (recipes: always)"},
      {"budget.tokens", false, kUsed, "tokens that the search may take"},
      {"budget.dollars", false, kUsed, "money that it may cost, by the models' prices"},

      {"database.num_islands", true, kUsed, "islands of the search"},
      {"database.migration_interval", true, kUsed, "evaluations on an island between migrations"},
      {"database.exploration_ratio", true, kUsed, "share of parents drawn evenly from the island"},
      {"database.in_memory", true, kOnly, kArchive, "false"},
      {"database.log_prompts", true, kOnly, kArchive, "true"},
      {"database.db_path", true, kRefused, "the search's folder has the archive; name it with --out"},
      {"database.population_size", true, kRefused, "the grid's cells bound the population"},
      {"database.archive_size", true, kRefused, kParents},
      {"database.island_initial_programs", true, kRefused, "all islands start from the pack that is given"},
      {"database.elite_selection_ratio", true, kRefused, kParents},
      {"database.exploitation_ratio", true, kRefused, "it is what database.exploration_ratio leaves"},
      {"database.migration_rate", true, kRefused, "an island's best one migrates"},
      {"database.diversity_metric", true, kRefused, kFixedGrid},
      {"database.feature_dimensions", true, kRefused, kFixedGrid},
      {"database.feature_bins", true, kRefused, kFixedGrid},
      {"database.diversity_reference_size", true, kRefused, kFixedGrid},
      {"database.random_seed", true, kRefused, "use random_seed: the search has one seed"},
      {"database.artifacts_base_path", true, kRefused, kArchive},
      {"database.artifact_size_threshold", true, kRefused, kArchive},
      {"database.cleanup_old_artifacts", true, kRefused, kArchive},
      {"database.artifact_retention_days", true, kRefused, kArchive},
      {"database.max_snapshot_artifacts", true, kRefused, kArchive},
      {"database.novelty_llm", true, kRefused, kNovelty},
      {"database.embedding_model", true, kRefused, kNovelty},
      {"database.embedding_api_base", true, kRefused, kNovelty},
      {"database.similarity_threshold", true, kRefused, kNovelty},

      {"evaluator.parallel_evaluations", true, kOnly, "one timed process at a time, or times mean nothing", "1"},
      {"evaluator.use_llm_feedback", true, kOnly, "models propose; the judge measures", "false"},
      {"evaluator.enable_artifacts", true, kOnly, kArchive, "true"},
      {"evaluator.cascade_evaluation", true, kOnly, kCascade, "true"},
      {"evaluator.distributed", true, kOnly, kNoOpThere, "false"},
      {"evaluator.timeout", true, kRefused, "each gate has its own time limit"},
      {"evaluator.max_retries", true, kRefused, kJudgeOnce},
      {"evaluator.cascade_thresholds", true, kRefused, kCascade},
      {"evaluator.memory_limit_mb", true, kRefused, "the sandbox has its own limit"},
      {"evaluator.cpu_limit", true, kRefused, "the sandbox has its own limit"},
      {"evaluator.llm_feedback_weight", true, kRefused, "models propose; the judge measures"},
      {"evaluator.max_artifact_storage", true, kRefused, kArchive},
      {"evaluator.evaluator_args", true, kRefused, "the judge is not a Python function; its settings are flags of evolve"},

      {"evolution_trace.enabled", true, kOnly, kTrace, "true"},
      {"evolution_trace.include_code", true, kOnly, kTrace, "true"},
      {"evolution_trace.include_prompts", true, kOnly, kTrace, "true"},
      {"evolution_trace.include_failures", true, kOnly, kTrace, "true"},
      {"evolution_trace.format", true, kRefused, kTrace},
      {"evolution_trace.output_path", true, kRefused, kTrace},
      {"evolution_trace.buffer_size", true, kRefused, kTrace},
      {"evolution_trace.compress", true, kRefused, kTrace},
  };
  return keys;
}

Result<std::vector<ConfigSetting>> check_config_keys(const std::vector<Setting>& settings) {
  KeyWalk walk;
  for (const Setting& setting : settings) TRY(walk.visit(setting, 0));
  return walk.found;
}

std::string config_keys_as_markdown() {
  std::string text = "| key | OpenEvolve | here |\n|---|---|---|\n";
  for (const ConfigKey& key : config_keys()) {
    std::string here(key.note);
    if (key.use == KeyUse::kOnly) here = fmt::format("only `{}`: {}", key.only, key.note);
    if (key.use == KeyUse::kRefused) here = fmt::format("refused: {}", key.note);
    text += fmt::format("| `{}` | {} | {} |\n", key.path, key.in_openevolve ? "yes" : "", here);
  }
  return text;
}

}  // namespace evolora
