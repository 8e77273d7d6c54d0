// Probe verbs of the engine: logits, loss, gradients and adapter initialisation for a model folder and a JSON request, written as safetensors.
//
// Request keys (all optional but those a verb needs):
//   adapter         {num_layers, rank, scale, dropout, keys, dora}   absent: no adapters
//   adapter_weights safetensors file loaded into them           absent: initialize(seed)
//   adapter_folder  instead of the two above: an adapter folder as mlx-lm writes it
//   recipe          {threads, grad_checkpoint, head_rows_per_chunk, micro_batch_tokens, kernels: "reference" | "cpu"}
//                   or {mlx: a recipe's mlx field, grad_checkpoint, head_rows_per_chunk}: the MLX engine (gradients, loss)
//   seed            of lora_init
//   rows            [[token, ...], ...]                         logits: one segment per row -> "logits.<row>" (T, V)
//   passes          [{tokens, positions, segment_starts, loss_rows, targets, loss_scale, dropout_seed}, ...]   gradients, loss
//   tokens, chunks  decode: feeds tokens in pieces of these sizes -> "logits" (pieces, V)
#include <cstdio>
#include <functional>
#include <numeric>
#include <string>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "engine/decoder.h"
#include "engine/training_engine.h"
#include "formats/safetensors.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "probe_verbs.h"
#include "train/mlx_module.h"

namespace evolora::probe {
namespace {

using nlohmann::json;

struct Session {
  json request;
  ModelWeights weights;
  AdapterSet adapters;
  Recipe recipe;
};

Recipe recipe_of(const json& request) {
  const json recipe = request.value("recipe", json::object());
  Recipe out;
  out.threads = recipe.value("threads", 1);
  if (recipe.value("grad_checkpoint", false)) out.recompute = Recompute::kBlock;
  out.head_rows_per_chunk = recipe.value("head_rows_per_chunk", std::int64_t{0});
  out.micro_batch_tokens = recipe.value("micro_batch_tokens", std::int64_t{0});
  out.share_prefixes = recipe.value("share_prefixes", false);
  if (recipe.value("kernels", "cpu") == "reference") out.kernels = KernelSet::kReference;
  return out;
}

AdapterOptions options_of(const json& request) {
  AdapterOptions options;
  if (!request.contains("adapter")) {
    options.num_layers = 0;
    options.keys = std::vector<std::string>{};  // adapts nothing
    return options;
  }
  const json& adapter = request.at("adapter");
  options.num_layers = adapter.value("num_layers", options.num_layers);
  options.rank = adapter.value("rank", options.rank);
  options.scale = adapter.value("scale", options.scale);
  options.dropout = adapter.value("dropout", options.dropout);
  options.dora = adapter.value("dora", false);
  if (adapter.contains("keys") && !adapter.at("keys").is_null()) options.keys = adapter.at("keys").get<std::vector<std::string>>();
  return options;
}

Result<AdapterSet> adapters_of(const json& request, const ModelWeights& weights) {
  const ModelSpec& spec = weights.spec();
  FileSystem& files = real_file_system();
  if (request.contains("adapter_folder")) return load_adapter_folder(files, request.at("adapter_folder").get<std::string>(), spec);
  AdapterSet adapters = TRY(AdapterSet::create(spec, options_of(request)));
  adapters.initialize(request.value("seed", std::uint64_t{0}));
  adapters.initialize_magnitudes(weights);
  if (request.contains("adapter_weights")) {
    const std::string path = request.at("adapter_weights");
    const SafetensorsFile file = TRY(SafetensorsFile::open(files, path));
    TRY(adapters.load(file, path));
  }
  return adapters;
}

Result<Session> open_session(const std::string& model, const std::string& request_path) {
  FileSystem& files = real_file_system();
  json request = json::parse(TRY(files.read(request_path)));
  MlxFolder folder = TRY(MlxFolder::open(files, model));
  ModelWeights weights = TRY(ModelWeights::load(std::move(folder)));
  AdapterSet adapters = TRY(adapters_of(request, weights));
  const Recipe recipe = recipe_of(request);
  return Session{std::move(request), std::move(weights), std::move(adapters), recipe};
}

Batch batch_of(const json& pass) {
  Batch batch;
  batch.tokens = pass.at("tokens").get<std::vector<std::int32_t>>();
  batch.positions = pass.at("positions").get<std::vector<std::int32_t>>();
  batch.segment_starts = pass.at("segment_starts").get<std::vector<std::int32_t>>();
  batch.loss_rows = pass.at("loss_rows").get<std::vector<std::int32_t>>();
  batch.targets = pass.at("targets").get<std::vector<std::int32_t>>();
  batch.real_tokens = batch.token_count();
  return batch;
}

Batch batch_of_rows(const json& rows) {
  Batch batch;
  batch.segment_starts.push_back(0);
  for (const json& row : rows) {
    const auto tokens = row.get<std::vector<std::int32_t>>();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      batch.tokens.push_back(tokens[i]);
      batch.positions.push_back(static_cast<std::int32_t>(i));
    }
    batch.segment_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
  }
  batch.real_tokens = batch.token_count();
  return batch;
}

TensorView view_of(std::string name, std::vector<std::int64_t> shape, std::span<const float> values) {
  return TensorView{std::move(name), DType::kF32, std::move(shape), std::as_bytes(values)};
}

Status run_logits(Session& session, const std::string& out) {
  Threads threads(session.recipe.threads);
  TrainingEngine engine(session.weights, session.adapters, session.recipe, threads);
  const Batch batch = batch_of_rows(session.request.at("rows"));
  std::vector<std::int32_t> rows(batch.tokens.size());
  std::iota(rows.begin(), rows.end(), 0);
  const auto vocabulary = static_cast<std::size_t>(session.weights.spec().vocab_size);
  std::vector<float> logits(rows.size() * vocabulary);
  engine.logits(batch, rows, logits.data());

  std::vector<TensorView> tensors;
  for (std::size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) {
    const auto begin = static_cast<std::size_t>(batch.segment_starts[s]);
    const auto count = static_cast<std::size_t>(batch.segment_starts[s + 1]) - begin;
    tensors.push_back(view_of("logits." + std::to_string(s), {static_cast<std::int64_t>(count), static_cast<std::int64_t>(vocabulary)},
                              std::span(logits).subspan(begin * vocabulary, count * vocabulary)));
  }
  return write_safetensors(real_file_system(), out, tensors, std::nullopt);
}

// 17 significant digits: a double survives the text.
std::string exact(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

bool wants_mlx(const Session& session) { return session.request.value("recipe", json::object()).contains("mlx"); }

Result<std::unique_ptr<StepEngine>> make_mlx(Session& session) {
  const MlxModuleEntry* module = TRY(load_mlx_module());
  const json recipe = session.request.at("recipe");
  MlxEngineOptions options;
  options.recipe = TRY(mlx_recipe_from_json(recipe.at("mlx"), "recipe.mlx"));
  options.grad_checkpoint = recipe.value("grad_checkpoint", false);
  options.head_rows_per_chunk = recipe.value("head_rows_per_chunk", std::int64_t{0});
  return module->make(options, session.weights, session.adapters);
}

Status run_mlx_gradients(Session& session, const std::string& out) {
  const std::unique_ptr<StepEngine> engine = TRY(make_mlx(session));
  json losses = json::array();
  for (const json& pass : session.request.at("passes")) {
    const double scale = pass.value("loss_scale", 1.0);
    losses.push_back(TRY(engine->train_on(batch_of(pass), scale, pass.value("dropout_seed", std::uint64_t{0}), std::nullopt)));
  }
  const std::vector<float> gradients = TRY(engine->gradients());
  const std::map<std::string, std::string> metadata = {
      {"losses", losses.dump()}, {"engine", engine->record().dump()}, {"planned_arena_bytes", "0"}, {"peak_arena_bytes", "0"}};
  return write_safetensors(real_file_system(), out, session.adapters.tensors_of(gradients.data()), metadata);
}

Status run_gradients(Session& session, const std::string& out) {
  if (wants_mlx(session)) return run_mlx_gradients(session, out);
  Threads threads(session.recipe.threads);
  TrainingEngine engine(session.weights, session.adapters, session.recipe, threads);
  std::vector<Batch> batches;
  std::size_t planned = 0;
  for (const json& pass : session.request.at("passes")) {
    batches.push_back(batch_of(pass));
    planned = std::max(planned, engine.arena_bytes_for(batches.back(), true));
  }
  engine.reserve(planned);
  engine.zero_gradients();
  json losses = json::array();
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const json& pass = session.request.at("passes")[i];
    losses.push_back(engine.forward_backward(batches[i], pass.value("loss_scale", 1.0), pass.value("dropout_seed", std::uint64_t{0})));
  }
  std::map<std::string, std::string> metadata;
  metadata["losses"] = losses.dump();
  metadata["planned_arena_bytes"] = std::to_string(engine.planned_arena_bytes());
  metadata["peak_arena_bytes"] = std::to_string(engine.peak_arena_bytes());
  return write_safetensors(real_file_system(), out, session.adapters.tensors_of(engine.gradients()), metadata);
}

Status run_loss(Session& session) {
  if (wants_mlx(session)) {
    const std::unique_ptr<StepEngine> engine = TRY(make_mlx(session));
    for (const json& pass : session.request.at("passes")) std::printf("%s\n", exact(TRY(engine->loss_sum(batch_of(pass)))).c_str());
    return {};
  }
  Threads threads(session.recipe.threads);
  TrainingEngine engine(session.weights, session.adapters, session.recipe, threads);
  for (const json& pass : session.request.at("passes")) std::printf("%s\n", exact(engine.loss_sum(batch_of(pass))).c_str());
  return {};
}

Status run_decode(Session& session, const std::string& out) {
  Threads threads(session.recipe.threads);
  const auto tokens = session.request.at("tokens").get<std::vector<std::int32_t>>();
  Decoder decoder(session.weights, &session.adapters, session.recipe, threads, static_cast<std::int64_t>(tokens.size()));
  std::vector<float> logits;
  std::size_t fed = 0;
  std::int64_t pieces = 0;
  for (const std::size_t size : session.request.at("chunks").get<std::vector<std::size_t>>()) {
    const std::span<const float> last = decoder.feed(std::span(tokens).subspan(fed, size));
    logits.insert(logits.end(), last.begin(), last.end());
    fed += size;
    ++pieces;
  }
  return write_safetensors(real_file_system(), out, {view_of("logits", {pieces, session.weights.spec().vocab_size}, logits)}, std::nullopt);
}

int with_session(int argc, char** argv, int expected, const std::function<Status(Session&)>& run) {
  if (argc != expected) {
    std::fprintf(stderr, "usage: evolora_probe %s MODEL REQUEST.json%s\n", argv[0], expected > 3 ? " OUT.safetensors" : "");
    return 2;
  }
  const Status status = [&]() -> Status {
    Session session = TRY(open_session(argv[1], argv[2]));
    return run(session);
  }();
  if (status.ok()) return 0;
  std::fprintf(stderr, "evolora_probe: %s: %s\n", argv[0], status.error().message.c_str());
  return error_exit_status(status.error().code);
}

}  // namespace

int probe_logits(int argc, char** argv) {
  return with_session(argc, argv, 4, [&](Session& session) { return run_logits(session, argv[3]); });
}

int probe_gradients(int argc, char** argv) {
  return with_session(argc, argv, 4, [&](Session& session) { return run_gradients(session, argv[3]); });
}

int probe_loss(int argc, char** argv) { return with_session(argc, argv, 3, run_loss); }

int probe_lora_init(int argc, char** argv) {
  return with_session(argc, argv, 4, [&](Session& session) { return session.adapters.save(real_file_system(), argv[3]); });
}

int probe_decode(int argc, char** argv) {
  return with_session(argc, argv, 4, [&](Session& session) { return run_decode(session, argv[3]); });
}

}  // namespace evolora::probe
