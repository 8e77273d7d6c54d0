// Preparation and completion of a run; the steps are in training_loop.cpp.
#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/heap.h"
#include "engine/recipe_json.h"
#include "engine/recipe_planner.h"
#include "engine/training_engine.h"
#include "formats/adapter_files.h"
#include "kernels/kernel_table.h"
#include "kernels/lora_linear/fma_peak.h"
#include "train/applied_record.h"
#include "train/evaluation.h"
#include "train/fused_step_engine.h"
#include "train/loaded_model.h"
#include "train/memory_meter.h"
#include "train/mlx_run.h"
#include "train/recipe_pack.h"
#include "train/run_files.h"
#include "train/training_loop.h"
#include "train/training_state.h"

namespace evolora {
namespace {

// One run's owned parts, in order of construction.
class Run {
 public:
  Run(const TrainRequest& request, FileSystem& files, TrainObserver& observer, const TrainControl& control)
      : request_(request), files_(files), observer_(observer), control_(control), random_(static_cast<std::uint32_t>(request.seed)) {}

  Result<TrainResult> execute();
  Result<TrainPlan> plan_only();

 private:
  Status load();
  Status make_adapters(const ModelWeights& weights);
  std::int64_t steps_of(std::int64_t batches_per_epoch) const;
  Status make_batches();
  Result<RunShape> run_shape();
  Result<std::size_t> exact_arena_bytes(const RunShape& run);
  Result<RecipeChoices> recipe_choices();
  Status choose_recipe(std::size_t fixed_bytes);
  Status plan();
  Status open_files();
  Status build_engine();
  Status find_state();
  Status restore_state();
  Status save_state(const nlohmann::ordered_json& loop, bool gradients_pending);
  Status build_mlx_engine();
  Status train();
  Status test();
  // What rounding depends on besides the recipe: the instruction set, and what is in the kernel pack.
  std::string instructions() const;
  TrainResult result_so_far() const;
  Status write_record(const std::string& status, const std::string& error);
  BatchOptions evaluation_options() const { return {request_.batch_size, request_.max_seq_length, request_.seed, request_.semantics}; }
  BatchOptions training_options() const {
    BatchOptions options = evaluation_options();
    options.packing = request_.packing;
    return options;
  }
  // Batches of the steps still to do.
  Status visit_batches_to_come(std::int64_t steps, const std::function<void(const Batch&)>& visit) const;

  const TrainRequest& request_;
  FileSystem& files_;
  TrainObserver& observer_;
  const TrainControl& control_;
  NumpyRandom random_;  // mlx-lm's np.random: training and every evaluation draw from it (compat)
  std::optional<ModelWeights> weights_;
  TrainData data_;
  AdapterSet adapters_;
  AdapterStart adapter_start_;
  std::unique_ptr<Batcher> train_batches_;
  std::optional<EvaluationBatches> valid_batches_;
  std::optional<EvaluationBatches> test_batches_;
  std::optional<Threads> threads_;
  std::optional<TrainingEngine> engine_;
  std::optional<AdamOptimizer> optimizer_;
  const MlxModuleEntry* mlx_ = nullptr;      // null: the fused engine runs
  std::unique_ptr<StepEngine> step_engine_;  // null in a fused run that only tests
  std::optional<LearningRate> learning_rate_;
  nlohmann::ordered_json identity_;
  std::optional<TrainingState> state_;  // that the run goes on from
  std::int64_t steps_done_ = 0;         // in it
  std::int64_t steps_ = 0;
  Recipe recipe_;
  TrainPlan plan_;
  std::optional<MetricsLog> metrics_;
  std::optional<TrainingLoop> loop_;
  std::optional<double> test_loss_;
};

Status check_request(const TrainRequest& request) {
  if (!request.train && !request.test) return Error{ErrorCode::kUsage, "nothing to do: give --train, --test or both"};
  if (request.train && request.adapter_path.empty()) return Error{ErrorCode::kUsage, "--adapter-path is empty: training needs a folder to write to"};
  if (request.engine == "mlx") {
    if (request.resume)
      return Error{ErrorCode::kUsage, "--resume: only the fused engine saves what a run needs to go on; leave --engine mlx or --resume away"};
    return {};
  }
  if (request.recipe.mlx) {
    return Error{ErrorCode::kUsage,
                 "--kernels: standard and optimized are slot sets of --engine mlx, which was not given; the fused engine has cpu and reference"};
  }
  if (request.device != "cpu") return Error{ErrorCode::kUsage, "--device gpu: the fused engine runs on CPUs; give --engine mlx too"};
  if (request.fine_tune_type == "dora") {
    return Error{ErrorCode::kUnsupported, "fine_tune_type: \"dora\" is not supported yet by the fused engine; use lora, or --engine mlx"};
  }
  return {};
}

Status Run::load() {
  if (request_.engine == "mlx") mlx_ = TRY(load_mlx_module());
  {
    observer_.on_status("Loading model");
    LoadedModel model = TRY(load_model(files_, request_.model));
    TRY(make_adapters(model.weights));
    observer_.on_status("Reading and tokenising data");
    data_ = TRY(load_train_data(request_, model, files_, observer_));
    weights_ = std::move(model.weights);
  }
  // The tokenizer is gone, nothing is tokenised any more; one of 150,000 tokens with their merges takes tens of MB of heap.
  give_back_free_heap();
  return {};
}

Status Run::make_adapters(const ModelWeights& weights) {
  const ModelSpec& spec = weights.spec();
  if (!request_.train) {
    adapters_ = request_.adapter_path.empty() ? TRY(no_adapters(spec)) : TRY(load_adapter_folder(files_, request_.adapter_path, spec));
    return {};
  }
  AdapterOptions options;
  options.num_layers = request_.num_layers;
  options.rank = request_.rank;
  options.scale = static_cast<float>(request_.scale);
  options.dropout = static_cast<float>(request_.dropout);
  options.keys = request_.keys;
  options.dora = request_.fine_tune_type == "dora";
  adapters_ = TRY(AdapterSet::create(spec, options));
  if (adapters_.parameter_count() == 0) return Error{ErrorCode::kUsage, "lora_parameters.keys is empty: there is nothing to train"};
  adapters_.initialize(request_.seed);
  adapters_.initialize_magnitudes(weights);
  if (!request_.resume_adapter_file.empty()) {
    const SafetensorsFile file = TRY(SafetensorsFile::open(files_, request_.resume_adapter_file));
    TRY(adapters_.load(file, request_.resume_adapter_file));
  }
  adapter_start_ = start_of(adapters_);
  return {};
}

std::int64_t Run::steps_of(std::int64_t batches_per_epoch) const {
  constexpr std::int64_t kDefaultIters = 1000;  // mlx-lm's
  if (!request_.epochs) return request_.iters.value_or(kDefaultIters);
  // The slack keeps 0.1 * 30 batches at 3 steps, whatever the last bit of 0.1 says.
  const double steps = std::ceil(*request_.epochs * static_cast<double>(batches_per_epoch) - 1e-9);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::min(steps, 1e15)));
}

Status Run::make_batches() {
  if (data_.train) {
    train_batches_ = TRY(make_batcher(*data_.train, training_options(), random_));
    steps_ = steps_of(train_batches_->batches_per_epoch());
  }
  if (data_.valid) valid_batches_ = TRY(EvaluationBatches::create(*data_.valid, evaluation_options(), request_.val_batches, random_));
  if (data_.test) test_batches_ = TRY(EvaluationBatches::create(*data_.test, evaluation_options(), request_.test_batches, random_));
  return {};
}

// What an earlier run in the same folder has left to go on with.
Status Run::find_state() {
  if (!request_.train) return {};
  if (request_.semantics == Semantics::kNative) identity_ = run_identity(request_, data_, *weights_);
  if (!request_.resume) return {};
  state_ = TRY(TrainingState::find(files_, request_.adapter_path, adapters_.parameter_count()));
  if (!state_) {
    observer_.on_warning(fmt::format("{} has no {}: starting with the first step", request_.adapter_path, kTrainingStateFile));
    return {};
  }
  TRY(state_->check_identity(identity_));
  TRY(state_->check_steps(steps_, request_.grad_accumulation_steps));
  steps_done_ = state_->step();
  return {};
}

Status Run::visit_batches_to_come(std::int64_t steps, const std::function<void(const Batch&)>& visit) const {
  std::int64_t step = 0;
  return evolora::visit_batches_to_come(*data_.train, training_options(), steps_done_ + steps, [&](const Batch& batch) {
    if (++step > steps_done_) visit(batch);
  });
}

// One pass over what the run will see, for choosing a recipe.
Result<RunShape> Run::run_shape() {
  RunShape run;
  if (data_.train) {
    const std::int64_t per_epoch = train_batches_->batches_per_epoch();
    const std::int64_t steps = steps_ - steps_done_;
    TRY(visit_batches_to_come(std::min(steps, per_epoch), [&](const Batch& batch) {
      if (batch.supervised_count() > 0 && static_cast<std::int64_t>(run.training.size()) < steps) run.training.push_back(batch);
    }));
    run.epochs = std::max(1.0, static_cast<double>(steps) / static_cast<double>(std::max<std::int64_t>(1, per_epoch)));
    if (steps < per_epoch) run.epochs = 1;
  }
  const auto add_evaluation = [&](const std::optional<DataSplit>& split, std::optional<EvaluationBatches>& batches) -> Status {
    if (!split) return {};
    const auto add = [&](const Batch& batch) {
      if (batch.supervised_count() > 0) run.evaluation.push_back(batch);
    };
    if (request_.semantics == Semantics::kCompatMlxLm) return evolora::visit_batches_to_come(*split, evaluation_options(), 1, add);
    for (const Batch& batch : batches->next()) add(batch);
    return {};
  };
  TRY(add_evaluation(data_.valid, valid_batches_));
  TRY(add_evaluation(data_.test, test_batches_));
  if (data_.train && !run.evaluation.empty()) {
    run.evaluations = 1 + std::ceil(static_cast<double>(steps_) / static_cast<double>(request_.steps_per_eval));
  } else if (!run.evaluation.empty()) {
    run.evaluations = 1;
  }
  return run;
}

// The exact arena of all batches to come. Native validation comes before the first step, so its samples are the first in the prefix cache.
Result<std::size_t> Run::exact_arena_bytes(const RunShape& run) {
  ArenaPlanner planner(*weights_, adapters_, recipe_, threads_->count(), recipe_.prefix_cache != PrefixCache::kOff);
  for (const Batch& batch : run.evaluation) planner.add(batch, false);
  if (data_.train) {
    TRY(visit_batches_to_come(steps_ - steps_done_, [&](const Batch& batch) {
      if (batch.supervised_count() > 0) planner.add(batch, true);
    }));
  }
  return planner.arena_bytes();
}

Result<RecipeChoices> Run::recipe_choices() {
  if (request_.recipe_file.empty()) return request_.recipe;
  return merge_choices(request_.recipe, TRY(read_recipe(files_, request_.recipe_file)));
}

Status Run::choose_recipe(std::size_t fixed_bytes) {
  RecipeChoices choices = TRY(recipe_choices());
  if (mlx_ != nullptr) {
    TRY(build_recipe_mlx_pack(files_, choices));
    recipe_ = TRY(mlx_run_recipe(choices, request_, observer_));
    plan_.recipe = recipe_;
    return {};
  }
  if (choices.mlx) observer_.on_warning("the fused engine does not heed the recipe's field mlx; give --engine mlx");
  // The arithmetic of a resumed run is that of the first one, unless somebody wants it otherwise.
  if (state_) {
    RecipeChoices first = TRY(recipe_from_json(state_->recipe(), state_->path().string()));
    if (!first.share_prefixes) first.share_prefixes = false;  // a state from before there was this choice
    choices = merge_choices(choices, first);
  }
  TRY(open_recipe_pack(files_, choices));
  threads_.emplace(choices.threads.value_or(0));
  choices.threads = threads_->count();
  RunShape run = TRY(run_shape());
  run.threads = threads_->count();
  run.fixed_bytes = fixed_bytes;
  PlanLimits limits{.memory_bytes = request_.memory_limit_bytes, .exact_storage = request_.semantics == Semantics::kCompatMlxLm};
  // The recipe is priced by the heaviest batches of one epoch; if the exact plan over all epochs needs more, the choice is made again for less.
  constexpr int kRounds = 4;
  for (int round = 0;; ++round) {
    const PlannedRecipe planned = TRY(plan_recipe(*weights_, adapters_, choices, run, limits));
    recipe_ = planned.recipe;
    plan_.arena_bytes = TRY(exact_arena_bytes(run));
    if (plan_.arena_bytes <= planned.arena_bytes || request_.memory_limit_bytes == 0 || round == kRounds) break;
    const std::size_t excess = plan_.arena_bytes - planned.arena_bytes;
    if (planned.resident_bytes + excess <= request_.memory_limit_bytes) break;
    limits.memory_bytes -= std::min(limits.memory_bytes - 1, excess);
  }
  plan_.recipe = recipe_;
  plan_.fma_peak_flops = best_fma_peak_flops(threads_->count());
  plan_.predicted_seconds = predicted_run_seconds(*weights_, adapters_, recipe_, run, plan_.fma_peak_flops);
  return {};
}

Status Run::plan() {
  // Heap before the large buffers exist: they are added to it exactly.
  const ProcessMemory before = process_memory();
  // Parameters, gradients and two moments: four buffers of the same size.
  plan_.adapter_bytes = (request_.train ? 4 : 1) * adapters_.parameter_count() * sizeof(float);
  const std::size_t not_yet_allocated = plan_.adapter_bytes - adapters_.parameter_count() * sizeof(float);
  const std::size_t fixed_bytes = before.anonymous_bytes + program_resident_bytes() + not_yet_allocated;
  TRY(choose_recipe(fixed_bytes));

  const ModelWeights& weights = *weights_;
  plan_.model = request_.model;
  plan_.model_type = weights.spec().model_type;
  plan_.weight_format = weight_format(weights);
  plan_.model_layers = weights.spec().num_layers;
  plan_.adapted_layers = weights.spec().num_layers - adapters_.first_layer();
  plan_.adapted_linears = adapters_.modules().size();
  plan_.trainable_parameters = request_.train ? adapters_.parameter_count() : 0;
  plan_.total_parameters = parameter_count(weights) + adapters_.parameter_count();
  if (data_.train) plan_.train = data_.train->summary;
  if (data_.valid) plan_.valid = data_.valid->summary;
  if (data_.test) plan_.test = data_.test->summary;
  plan_.batch_size = request_.batch_size;
  plan_.batches_per_epoch = train_batches_ ? train_batches_->batches_per_epoch() : 0;
  plan_.steps = steps_;
  plan_.resumed_from_step = steps_done_;
  if (request_.packing && train_batches_) plan_.fill_rate = train_batches_->fill_rate();
  plan_.epochs = train_batches_ ? static_cast<double>(steps_) / static_cast<double>(std::max<std::int64_t>(1, plan_.batches_per_epoch)) : 0;
  plan_.engine = request_.engine;
  plan_.threads = threads_ ? threads_->count() : 1;
  plan_.kernels = mlx_ != nullptr ? fmt::format("MLX {} {}", mlx_->mlx_version, request_.device)
                                  : select_kernels(recipe_.kernels).name + std::string(" ") + simd_target();
  if (!recipe_.pack.mlx_name.empty()) plan_.kernels = recipe_.pack.mlx_name + " and " + plan_.kernels;
  if (recipe_.pack.library != nullptr) plan_.kernels = pack_service_name(*recipe_.pack.library) + " and " + plan_.kernels;
  plan_.weights_bytes = weights.stored_bytes();
  // MLX allocates as it goes: there is nothing to plan with.
  if (mlx_ == nullptr)
    plan_.expected_peak_rss_bytes = std::max(before.peak_rss_bytes, fixed_bytes + resident_weight_bytes(weights, recipe_) + plan_.arena_bytes);
  observer_.on_plan(plan_);
  return {};
}

Status Run::build_mlx_engine() {
  step_engine_ = TRY(make_mlx_run_engine(*mlx_, request_, recipe_, *weights_, adapters_));
  report_mlx_fallbacks(*step_engine_, observer_);
  return {};
}

Status Run::build_engine() {
  if (mlx_ != nullptr) return build_mlx_engine();
  engine_.emplace(*weights_, adapters_, recipe_, *threads_);
  const std::int64_t hidden = weights_->spec().hidden_size;
  if (recipe_.prefix_cache == PrefixCache::kMemory) engine_->use_prefix_store(PrefixStore::in_memory(hidden));
  if (recipe_.prefix_cache == PrefixCache::kFile) {
    const fs::path folder = request_.train ? fs::path(request_.adapter_path) : fs::temp_directory_path();
    TRY(files_.create_directories(folder));
    engine_->use_prefix_store(TRY(PrefixStore::in_file(folder, hidden)));
  }
  engine_->reserve(plan_.arena_bytes);
  // The batchers have their own copies.
  for (std::optional<DataSplit>* split : {&data_.train, &data_.valid, &data_.test}) {
    if (*split) (*split)->samples = {};
  }
  return {};
}

Status Run::open_files() {
  const fs::path folder = request_.adapter_path;
  TRY(files_.create_directories(folder));
  // Of an earlier run in the same folder; they would be taken for this one's.
  TRY(files_.remove(folder / "run.json"));
  if (state_) {
    // A line that was written before its validation came to an end is written again, with it.
    const bool last_line_incomplete = state_->loop().contains("metrics_line");
    metrics_ = TRY(MetricsLog::resume(files_, folder / "metrics.jsonl", last_line_incomplete ? steps_done_ - 1 : steps_done_));
    return {};
  }
  TRY(files_.remove(folder / "best_adapters.safetensors"));
  TRY(files_.remove(folder / kTrainingStateFile));
  metrics_ = TRY(MetricsLog::start(files_, folder / "metrics.jsonl"));
  return {};
}

std::string Run::instructions() const {
  return recipe_.pack.library == nullptr ? simd_target() : fmt::format("{} and {}", simd_target(), pack_service_name(*recipe_.pack.library));
}

Status Run::save_state(const nlohmann::ordered_json& loop, bool gradients_pending) {
  const std::size_t count = adapters_.parameter_count();
  TrainingStateParts parts{.identity = identity_,
                           .recipe = recipe_to_json(recipe_),
                           .simd_target = instructions(),
                           .loop = loop,
                           .updates_done = optimizer_->updates_done(),
                           .parameters = {adapters_.parameters(), count},
                           .first_moments = optimizer_->first_moments(),
                           .second_moments = optimizer_->second_moments(),
                           .gradients = {}};
  if (gradients_pending) parts.gradients = {engine_->gradients(), count};
  return write_training_state(files_, request_.adapter_path, parts);
}

Status Run::restore_state() {
  TRY(loop_->restore(state_->loop()));
  const std::size_t count = adapters_.parameter_count();
  state_->copy("parameters", {adapters_.parameters(), count});
  state_->copy("gradients", {engine_->gradients(), count});
  optimizer_->restore(state_->updates_done(), [&](std::span<float> first, std::span<float> second) {
    state_->copy("first_moments", first);
    state_->copy("second_moments", second);
  });
  // Where a pass is kept from changes no bit.
  Recipe before = with_choices({}, TRY(recipe_from_json(state_->recipe(), state_->path().string())));
  before.prefix_cache = recipe_.prefix_cache;
  before.release_weights = recipe_.release_weights;
  if (before != recipe_ || state_->simd_target() != instructions()) {
    observer_.on_warning(
        "the recipe, its kernel pack or the instruction set is not that of the run that is resumed: results agree to rounding, not bit by bit");
  }
  state_.reset();  // the file's pages are given back
  return {};
}

Status Run::train() {
  learning_rate_ =
      request_.lr_schedule.is_null() ? LearningRate::constant(request_.learning_rate) : TRY(LearningRate::from_schedule(request_.lr_schedule));
  std::function<Status(const nlohmann::ordered_json&, bool)> save;
  if (mlx_ == nullptr) {
    const AdamOptions adam = TRY(parse_optimizer(request_.optimizer, request_.optimizer_config));
    optimizer_.emplace(adam, adapters_.parameter_count(), select_kernels(recipe_.kernels));
    step_engine_ = std::make_unique<FusedStepEngine>(*engine_, adapters_, *optimizer_, *threads_);
    if (request_.semantics == Semantics::kNative)
      save = [this](const nlohmann::ordered_json& loop, bool pending) { return save_state(loop, pending); };
  }
  loop_.emplace(LoopParts{request_, steps_, adapters_, *step_engine_, *learning_rate_, *train_batches_, valid_batches_ ? &*valid_batches_ : nullptr,
                          files_, observer_, *metrics_, control_.stop, save,
                          [this] { return write_adapter_config(files_, request_.adapter_path, adapter_config_of(request_, steps_)); }});
  if (state_) TRY(restore_state());
  TRY(loop_->run());
  return metrics_->close();
}

Status Run::test() {
  observer_.on_status("Testing");
  const LossFunction loss_sum = [&](const Batch& batch) -> Result<double> {
    if (step_engine_ != nullptr) return step_engine_->loss_sum(batch);
    return engine_->loss_sum(batch);
  };
  test_loss_ = TRY(evaluate_loss(loss_sum, test_batches_->next(), control_.stop)).loss;
  return {};
}

TrainResult Run::result_so_far() const {
  TrainResult result = loop_ ? loop_->result() : TrainResult();
  result.test_loss = test_loss_;
  result.wall_seconds = process_age_seconds();
  result.peak_rss_bytes = process_memory().peak_rss_bytes;
  result.trainable_parameters = plan_.trainable_parameters;
  if (step_engine_ != nullptr) result.engine = step_engine_->record();
  if (!engine_) return result;
  result.planned_arena_bytes = engine_->planned_arena_bytes();
  result.peak_arena_bytes = engine_->peak_arena_bytes();
  result.necessary_flops = engine_->necessary_flops();
  result.arithmetic = engine_->call_counts().arithmetic;
  if (engine_->prefix_store() != nullptr) result.prefix_cache_bytes = engine_->prefix_store()->stored_bytes();
  return result;
}

Status Run::write_record(const std::string& status, const std::string& error) {
  RunOutcome outcome{status, error, {}, 0, plan_.expected_peak_rss_bytes, plan_.predicted_seconds, plan_.fma_peak_flops, recipe_, {}};
  const std::int64_t updates = step_engine_ != nullptr ? step_engine_->updates_done() : 0;
  if (engine_) outcome.applied = applied_record(engine_->call_counts(), recipe_, {*weights_, adapters_, adapter_start_, updates});
  if (mlx_ != nullptr && step_engine_ != nullptr)
    outcome.applied = mlx_applied_record(*step_engine_, {*weights_, adapters_, adapter_start_, updates});
  if (loop_) {
    outcome.best_val_loss = loop_->best_val_loss();
    outcome.best_val_step = loop_->best_val_step();
  }
  TrainRequest resolved = request_;
  resolved.iters = steps_;
  const nlohmann::ordered_json record = run_record(resolved, result_so_far(), outcome, control_.version);
  return write_file_atomically(files_, fs::path(request_.adapter_path) / "run.json", record.dump(2) + "\n");
}

Result<TrainResult> Run::execute() {
  TRY(check_request(request_));
  TRY(load());
  TRY(make_batches());
  TRY(find_state());
  TRY(plan());
  TRY(build_engine());
  // Only now is an earlier run's record replaced: what cannot start leaves the folder as it was.
  if (request_.train) TRY(open_files());

  Status outcome = request_.train ? train() : Status();
  if (outcome.ok() && request_.test) outcome = test();
  if (!request_.train) {
    if (!outcome.ok()) return outcome.error();
    return result_so_far();
  }
  if (!outcome.ok()) {
    // The run's own error is what the user must see, even if the record of it cannot be written.
    const bool stopped = outcome.error().code == ErrorCode::kInterrupted;
    if (const Status record = write_record(stopped ? "interrupted" : "failed", outcome.error().message); !record.ok()) {
      observer_.on_warning(record.error().message);
    }
    return outcome.error();
  }
  TRY(write_record("completed", ""));
  return result_so_far();
}

Result<TrainPlan> Run::plan_only() {
  TRY(check_request(request_));
  TRY(load());
  TRY(make_batches());
  TRY(find_state());
  TRY(plan());
  return plan_;
}

}  // namespace

Result<TrainPlan> plan_training(const TrainRequest& request, FileSystem& files, TrainObserver& observer) {
  return Run(request, files, observer, {}).plan_only();
}

Result<TrainResult> run_training(const TrainRequest& request, FileSystem& files, TrainObserver& observer, const TrainControl& control) {
  return Run(request, files, observer, control).execute();
}

}  // namespace evolora
