// `evolora generate`: text from a prompt, or answers to a file of prompts (with --compare-base, base and tuned model side by side).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>

#include "command.h"
#include "compare_answers.h"
#include "formats/utf8.h"
#include "interrupt.h"
#include "terminal.h"
#include "train/generation.h"
#include "train/loaded_model.h"
#include "train/memory_meter.h"

namespace evolora {
namespace {

struct GenerateFlags {
  std::string model;
  std::string adapter_path;
  std::string prompt = "hello";
  std::string prompts_file;
  bool compare_base = false;
  std::int64_t max_tokens = 100;
  SamplingOptions sampling;
  std::int64_t seed = 0;
  CLI::Option* seed_option = nullptr;
  PromptOptions prompt_options;
  std::vector<std::string> extra_eos_tokens;
  std::string verbose = "true";
  int threads = 0;
};

struct Session {
  LoadedModel model;
  std::optional<AdapterSet> adapters;
  std::set<std::int32_t> stop_tokens;
  bool verbose = true;
};

// mlx-lm's rule for prompts from the command line: a typed \n is a new line.
std::string unescape(std::string text) {
  for (const auto& [typed, meant] : {std::pair{"\\n", "\n"}, std::pair{"\\t", "\t"}}) {
    for (std::size_t at = text.find(typed); at != std::string::npos; at = text.find(typed, at + 1)) text.replace(at, 2, meant);
  }
  return text;
}

Result<std::string> prompt_text(const std::string& flag) {
  if (flag != "-") return unescape(flag);
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  if (!is_utf8(text)) return Error{ErrorCode::kBadData, "the prompt on standard input is not UTF-8 text"};
  return text;
}

Result<bool> is_true(const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "true" || lower == "t" || lower == "1" || lower == "yes") return true;
  if (lower == "false" || lower == "f" || lower == "0" || lower == "no") return false;
  return Error{ErrorCode::kUsage, fmt::format("--verbose: expected true or false, got '{}'", text)};
}

Status check_flags(GenerateFlags& flags) {
  if (flags.max_tokens < 1)
    return Error{ErrorCode::kUsage, fmt::format("--max-tokens: expected a whole number, 1 or more, got {}", flags.max_tokens)};
  if (flags.compare_base && (flags.prompts_file.empty() || flags.adapter_path.empty())) {
    return Error{ErrorCode::kUsage, "--compare-base needs --prompts-file and --adapter-path"};
  }
  for (const std::string* text : {&flags.prompt, &flags.prompt_options.system_prompt}) {
    if (!is_utf8(*text)) return Error{ErrorCode::kUsage, "the prompt is not UTF-8 text"};
  }
  TRY(check_sampling(flags.sampling));
  // As in mlx-lm, sampling without a seed differs from run to run.
  if (flags.seed < 0) return Error{ErrorCode::kUsage, fmt::format("--seed: expected a whole number, 0 or more, got {}", flags.seed)};
  flags.sampling.seed = flags.seed_option->count() > 0 ? static_cast<std::uint64_t>(flags.seed) : std::random_device{}();
  return {};
}

Result<Session> open_session(const GenerateFlags& flags) {
  FileSystem& files = real_file_system();
  const bool verbose = TRY(is_true(flags.verbose));
  Session session{TRY(load_model(files, flags.model)), {}, {}, verbose};
  if (!flags.adapter_path.empty()) session.adapters = TRY(load_adapter_folder(files, flags.adapter_path, session.model.weights.spec()));
  session.stop_tokens = session.model.tokenizer.stop_token_ids();
  for (const std::string& token : flags.extra_eos_tokens) {
    const auto id = session.model.tokenizer.token_to_id(token);
    if (!id) return Error{ErrorCode::kUsage, fmt::format("--extra-eos-token: the model has no token '{}'", token)};
    session.stop_tokens.insert(*id);
  }
  return session;
}

// How many tokens may be generated after this prompt without leaving the positions that the model was made for.
Result<std::int64_t> token_limit(const LoadedModel& model, const std::vector<std::int32_t>& prompt, std::int64_t wanted) {
  TRY(check_token_ids(model, prompt));
  const ModelSpec& spec = model.weights.spec();
  const auto used = static_cast<std::int64_t>(prompt.size());
  const std::int64_t most = spec.max_position_embeddings > 0 ? spec.max_position_embeddings : std::int64_t{1} << 17;
  if (used >= most) return Error{ErrorCode::kTooLarge, fmt::format("the prompt has {} tokens; the model was made for at most {}", used, most)};
  return std::min(wanted, most - used);
}

std::string finish_note(FinishReason finish) {
  switch (finish) {
    case FinishReason::kStopToken: return "";
    case FinishReason::kLength: return " (stopped by --max-tokens)";
    case FinishReason::kInterrupted: return " (interrupted)";
  }
  return "";
}

void print_statistics(const GenerationRequest& request, const GenerationResult& result) {
  const auto rate = [](std::size_t tokens, double seconds) { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0; };
  std::fflush(stdout);
  fmt::print(stderr, "prompt {} tokens, {:.1f} tokens/s; answer {} tokens, {:.1f} tokens/s{}; peak memory {}", request.prompt.size(),
             rate(request.prompt.size(), result.prompt_seconds), result.tokens.size(), rate(result.tokens.size(), result.generation_seconds),
             finish_note(result.finish), human_bytes(process_memory().peak_rss_bytes));
  fmt::print(stderr, "{}\n", request.sampling.temperature > 0 ? fmt::format("; seed {}", request.sampling.seed) : "");
}

Error interrupted() { return Error{ErrorCode::kInterrupted, "interrupted"}; }

GenerationRequest base_request(const GenerateFlags& flags, const Session& session) {
  GenerationRequest request;
  request.max_tokens = flags.max_tokens;
  request.sampling = flags.sampling;
  request.stop_tokens = session.stop_tokens;
  request.stop = stop_flag();
  return request;
}

Status answer_one(const GenerateFlags& flags, const Session& session, Threads& threads) {
  const std::string text = TRY(prompt_text(flags.prompt));
  const ModelWeights& weights = session.model.weights;
  GenerationRequest request = base_request(flags, session);
  request.prompt = TRY(encode_prompt(session.model.tokenizer, text, flags.prompt_options));
  request.max_tokens = TRY(token_limit(session.model, request.prompt, flags.max_tokens));
  const auto capacity = static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens;
  Decoder decoder(weights, session.adapters ? &*session.adapters : nullptr, Recipe(), threads, capacity);
  const GenerationResult result = TRY(generate(decoder, session.model.tokenizer, request, [](std::string_view piece) {
    fmt::print("{}", piece);
    std::fflush(stdout);
  }));
  fmt::print("\n");
  if (session.verbose) print_statistics(request, result);
  if (result.finish == FinishReason::kInterrupted) return interrupted();
  return {};
}

Result<std::vector<std::int32_t>> encode_record(const GenerateFlags& flags, const Tokenizer& tokenizer, const PromptRecord& record) {
  const bool as_text = record.messages.is_null() || flags.prompt_options.ignore_chat_template || !tokenizer.has_chat_template();
  if (as_text) return tokenizer.encode(record.prompt, true);
  nlohmann::ordered_json messages = record.messages;
  const bool has_system =
      messages.front().is_object() && messages.front().value("role", nlohmann::ordered_json()) == nlohmann::ordered_json("system");
  if (!flags.prompt_options.system_prompt.empty() && !has_system) {
    messages.insert(messages.begin(), {{"role", "system"}, {"content", flags.prompt_options.system_prompt}});
  }
  return encode_messages(tokenizer, messages);
}

Status answer_file(const GenerateFlags& flags, const Session& session, Threads& threads) {
  const std::vector<PromptRecord> records = TRY(read_prompts(real_file_system(), flags.prompts_file));
  if (records.empty()) return Error{ErrorCode::kBadData, fmt::format("{}: the file has no records", flags.prompts_file)};
  const ModelWeights& weights = session.model.weights;
  std::vector<GenerationRequest> requests;
  std::int64_t capacity = 0;
  for (const PromptRecord& record : records) {
    GenerationRequest request = base_request(flags, session);
    request.prompt = TRY(encode_record(flags, session.model.tokenizer, record));
    request.max_tokens = TRY(token_limit(session.model, request.prompt, flags.max_tokens));
    capacity = std::max(capacity, static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens);
    requests.push_back(std::move(request));
  }

  std::vector<std::pair<const char*, std::unique_ptr<Decoder>>> models;
  if (flags.compare_base || !session.adapters) models.emplace_back("base", std::make_unique<Decoder>(weights, nullptr, Recipe(), threads, capacity));
  if (session.adapters) models.emplace_back("tuned", std::make_unique<Decoder>(weights, &*session.adapters, Recipe(), threads, capacity));
  const std::size_t width = terminal_width();
  for (std::size_t i = 0; i < records.size(); ++i) {
    fmt::print("{}\n", styled(Style::kDim, fmt::format("--- prompt {} of {} ", i + 1, records.size()) + std::string(40, '-')));
    fmt::print("{}", labelled_block("prompt", records[i].prompt, width));
    if (records[i].expected) fmt::print("{}", labelled_block("expected", *records[i].expected, width));
    for (const auto& [name, decoder] : models) {
      const GenerationResult result = TRY(generate(*decoder, session.model.tokenizer, requests[i], [](std::string_view) {}));
      fmt::print("{}", labelled_block(name, result.text, width));
      std::fflush(stdout);
      if (result.finish == FinishReason::kInterrupted) return interrupted();
    }
  }
  return {};
}

Status run_generate(GenerateFlags flags) {
  TRY(check_flags(flags));
  TRY(check_threads(flags.threads));
  const Session session = TRY(open_session(flags));
  Threads threads(flags.threads);
  return flags.prompts_file.empty() ? answer_one(flags, session, threads) : answer_file(flags, session, threads);
}

}  // namespace

Command add_generate_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("generate", "Text from a model, with or without an adapter");
  auto flags = std::make_shared<GenerateFlags>();
  add_value(*app, "--model", flags->model, "Folder of the MLX model");
  add_value(*app, "--adapter-path", flags->adapter_path, "Folder of an adapter");
  add_value(*app, "-p,--prompt", flags->prompt, "What to ask; '-' reads standard input [hello]");
  add_value(*app, "--prompts-file", flags->prompts_file, "Answer every record of this .jsonl file instead");
  app->add_flag("--compare-base", flags->compare_base, "With --prompts-file and --adapter-path: show the base model's answers too");
  add_value(*app, "-m,--max-tokens", flags->max_tokens, "Longest answer in tokens [100]");
  add_value(*app, "--temp", flags->sampling.temperature, "Temperature; 0: always the most probable token [0]");
  add_value(*app, "--top-p", flags->sampling.top_p, "Sample from the most probable tokens with this probability together [1]");
  add_value(*app, "--min-p", flags->sampling.min_p, "Drop tokens less probable than this share of the most probable one [0]");
  add_value(*app, "--top-k", flags->sampling.top_k, "Sample from this many most probable tokens; 0: all [0]");
  flags->seed_option = add_value(*app, "--seed", flags->seed, "Seed of the sampling; different every time without it");
  add_value(*app, "--system-prompt", flags->prompt_options.system_prompt, "System message of the conversation");
  app->add_flag("--ignore-chat-template", flags->prompt_options.ignore_chat_template, "Feed the prompt as plain text");
  app->add_option("--extra-eos-token", flags->extra_eos_tokens, "More tokens that end the answer");
  add_value(*app, "--verbose", flags->verbose, "Print statistics after the answer (true or false) [true]");
  add_value(*app, "--threads", flags->threads, "CPU threads; 0: all [0]");
  return {app, [flags] { return run_generate(*flags); }};
}

}  // namespace evolora
