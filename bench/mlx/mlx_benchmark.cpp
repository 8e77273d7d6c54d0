// Training steps of the MLX engine with its standard and its optimized slots, LoRA and DoRA, on a model of the shape of Qwen2.5-0.5B (or a small one)
// with random 4-bit weights: one JSON line per configuration, every configuration in a fresh process.
//
//   evolora_mlx_benchmark --device gpu --out results.jsonl
//
// tokens_per_s: B * T * steps over the time of the steps, from the second on that a compiled step may need; median_ms: of single steps. peak_bytes:
// MLX's own count of memory in use, weights included. ratio lines compare optimized with standard of the same adapter and batch.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file_system.h"
#include "base/process.h"
#include "model/test_model.h"
#include "reference/mlx_engine.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string device = "cpu";
  std::string shape = "qwen2.5-0.5b";
  std::string model;  // folder; empty: made in the temporary folder
  std::vector<std::int64_t> batches = {4, 16};
  std::vector<std::string> recipes = {R"("standard")", R"("optimized")"};
  std::vector<std::string> adapters = {"lora", "dora"};
  std::int64_t tokens = 512;
  std::int64_t layers = 16;
  std::int64_t steps = 16;
  std::int64_t warm_up = 3;
  std::int64_t head_rows_per_chunk = 0;
  std::string out;
  bool one = false;  // this process runs a single configuration
};

TestModel model_of(const std::string& shape) {
  TestModel model;
  model.model_type = "qwen2";
  model.quantization = AffineQuantization{.bits = 4, .group_size = 64};
  model.dtype = DType::kBF16;
  if (shape == "small") {
    model.hidden_size = 256;
    model.num_layers = 4;
    model.intermediate_size = 512;
    model.vocab_size = 2048;
    return model;
  }
  model.hidden_size = 896;
  model.num_layers = 24;
  model.intermediate_size = 4864;
  model.num_heads = 14;
  model.num_kv_heads = 2;
  model.vocab_size = 151936;
  return model;
}

Batch random_batch(std::int64_t rows, std::int64_t tokens, std::int64_t vocab, std::uint64_t seed) {
  const auto count = static_cast<std::size_t>(rows * (tokens + 1));
  const std::vector<float> values = test_values(count, seed);
  const auto token = [&](std::size_t i) { return static_cast<std::int32_t>((values[i] + 1.0F) * 0.5F * static_cast<float>(vocab - 1)); };
  Batch batch;
  batch.segment_starts.push_back(0);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < tokens; ++i) {
      const auto at = static_cast<std::size_t>(row * (tokens + 1) + i);
      batch.loss_rows.push_back(static_cast<std::int32_t>(batch.tokens.size()));
      batch.targets.push_back(token(at + 1));
      batch.tokens.push_back(token(at));
      batch.positions.push_back(static_cast<std::int32_t>(i));
    }
    batch.segment_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
  }
  batch.real_tokens = batch.token_count();
  return batch;
}

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Result<Json> run_one(const Arguments& arguments) {
  MlxFolder folder = TRY(MlxFolder::open(real_file_system(), arguments.model));
  const ModelWeights weights = TRY(ModelWeights::load(std::move(folder)));
  AdapterOptions adapter{.num_layers = std::min(arguments.layers, weights.spec().num_layers)};
  adapter.dora = arguments.adapters.front() == "dora";
  AdapterSet adapters = TRY(AdapterSet::create(weights.spec(), adapter));
  adapters.initialize(0);
  adapters.initialize_magnitudes(weights);
  MlxEngineOptions options;
  options.device = arguments.device == "gpu" ? MlxDevice::kGpu : MlxDevice::kCpu;
  options.recipe = TRY(mlx_recipe_from_json(Json::parse(arguments.recipes.front()), "--recipe"));
  options.head_rows_per_chunk = arguments.head_rows_per_chunk;
  const std::unique_ptr<StepEngine> engine = TRY(make_mlx_engine(options, weights, adapters));

  const std::int64_t rows = arguments.batches.front();
  const double work = static_cast<double>(rows * arguments.tokens);
  std::vector<double> step_seconds;
  std::vector<double> losses;
  const StepUpdate update{.gradient_scale = 1.0F, .learning_rate = 1e-5F};
  for (std::int64_t step = 0; step < arguments.warm_up + arguments.steps; ++step) {
    const Batch batch = random_batch(rows, arguments.tokens, weights.spec().vocab_size, 1000 + static_cast<std::uint64_t>(step));
    const double start = seconds_now();
    losses.push_back(TRY(engine->train_on(batch, 1.0 / work, 0, update)) / work);
    if (step >= arguments.warm_up) step_seconds.push_back(seconds_now() - start);
  }
  double total = 0;
  for (const double s : step_seconds) total += s;
  std::sort(step_seconds.begin(), step_seconds.end());
  const Json record = engine->record();
  return Json{{"adapter", arguments.adapters.front()},
              {"batch", rows},
              {"tokens", arguments.tokens},
              {"recipe", Json::parse(arguments.recipes.front())},
              {"tokens_per_s", work * static_cast<double>(step_seconds.size()) / total},
              {"median_ms", 1e3 * step_seconds[step_seconds.size() / 2]},
              {"peak_bytes", record.at("peak_bytes")},
              {"first_loss", losses.front()},
              {"last_loss", losses.back()},
              {"engine", record}};
}

void emit(const Json& line, std::FILE* out) {
  const std::string text = line.dump() + "\n";
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
  if (out == nullptr) return;
  std::fputs(text.c_str(), out);
  std::fflush(out);
}

Result<Json> run_in_child(const Arguments& a, const std::string& adapter, std::int64_t batch, const std::string& recipe) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  ProcessRequest request;
  request.argv = {program,
                  "--one",
                  "--device",
                  a.device,
                  "--model",
                  a.model,
                  "--adapter",
                  adapter,
                  "--batch",
                  std::to_string(batch),
                  "--recipe",
                  recipe,
                  "--tokens",
                  std::to_string(a.tokens),
                  "--layers",
                  std::to_string(a.layers),
                  "--steps",
                  std::to_string(a.steps),
                  "--warm-up",
                  std::to_string(a.warm_up),
                  "--head-rows-per-chunk",
                  std::to_string(a.head_rows_per_chunk)};
  request.standard_output = ProcessOutput::kCapture;
  const ProcessResult done = TRY(run_process(request));
  if (done.exit_status != 0) return Error{ErrorCode::kDependency, fmt::format("{} {} B{}: exit {}", adapter, recipe, batch, done.exit_status)};
  return Json::parse(done.standard_output);
}

Status run_all(Arguments a) {
  const bool own_model = a.model.empty();
  if (own_model) {
    a.model = (std::filesystem::temp_directory_path() / ("evolora-mlx-benchmark-" + a.shape)).string();
    write_test_model(model_of(a.shape), a.model);
  }
  std::FILE* out = a.out.empty() ? nullptr : std::fopen(a.out.c_str(), "w");
  if (!a.out.empty() && out == nullptr) return Error{ErrorCode::kIo, a.out + ": cannot be written"};
  for (const std::int64_t batch : a.batches) {
    for (const std::string& adapter : a.adapters) {
      Json first;
      for (const std::string& recipe : a.recipes) {
        const Result<Json> line = run_in_child(a, adapter, batch, recipe);
        if (!line.ok()) {
          emit(Json{{"error", line.error().message}}, out);
          continue;
        }
        emit(*line, out);
        if (first.is_null()) {
          first = *line;
          continue;
        }
        const auto ratio = [&](const char* key) { return line->at(key).get<double>() / first.at(key).get<double>(); };
        emit(Json{{"ratio_of", recipe},
                  {"to", a.recipes.front()},
                  {"adapter", adapter},
                  {"batch", batch},
                  {"speed", ratio("tokens_per_s")},
                  {"peak", ratio("peak_bytes")},
                  {"last_loss", ratio("last_loss")}},
             out);
      }
    }
  }
  if (out != nullptr) std::fclose(out);
  if (own_model) (void)real_file_system().remove(a.model);
  return {};
}

int run_benchmark(int argc, char** argv) {
  Arguments a;
  CLI::App app("Training steps of the MLX engine, slot sets side by side");
  app.add_option("--device", a.device, "cpu or gpu")->check(CLI::IsMember({"cpu", "gpu"}));
  app.add_option("--shape", a.shape, "qwen2.5-0.5b or small")->check(CLI::IsMember({"qwen2.5-0.5b", "small"}));
  app.add_option("--model", a.model, "An MLX model folder instead of random weights");
  app.add_option("--batch", a.batches, "Rows of a batch");
  app.add_option("--adapter", a.adapters, "lora, dora")->check(CLI::IsMember({"lora", "dora"}));
  app.add_option("--recipe", a.recipes, "A recipe's mlx field as JSON; the first is the baseline");
  app.add_option("--tokens", a.tokens, "Tokens of a row");
  app.add_option("--layers", a.layers, "Adapted layers");
  app.add_option("--steps", a.steps, "Timed steps")->check(CLI::PositiveNumber);
  app.add_option("--warm-up", a.warm_up, "Steps before");
  app.add_option("--head-rows-per-chunk", a.head_rows_per_chunk, "Of the optimized head_loss; 0: chosen");
  app.add_option("--out", a.out, "Write the lines to this file too");
  app.add_flag("--one", a.one, "Run the first configuration in this process");
  CLI11_PARSE(app, argc, argv);
  if (!a.one) {
    const Status done = run_all(a);
    if (!done.ok()) std::fprintf(stderr, "evolora_mlx_benchmark: %s\n", done.error().message.c_str());
    return done.ok() ? 0 : error_exit_status(done.error().code);
  }
  const Result<Json> line = run_one(a);
  if (line.ok()) emit(*line, nullptr);
  if (!line.ok()) std::fprintf(stderr, "evolora_mlx_benchmark: %s\n", line.error().message.c_str());
  return line.ok() ? 0 : error_exit_status(line.error().code);
}

}  // namespace
}  // namespace evolora

int main(int argc, char** argv) { return evolora::run_benchmark(argc, argv); }
