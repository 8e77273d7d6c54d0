// Kernels first, training after them.
#include "evolve/pack_judge.h"

#include <fmt/format.h>

#include "base/check.h"
#include "evolve/fitness.h"
#include "evolve/judge/mlx/mlx_source_judge.h"
#include "evolve/judge/pack_gates.h"
#include "evolve/judge/sandbox_compiler.h"
#include "evolve/judge/source_judge.h"
#include "evolve/mlx_training_judge.h"
#include "evolve/pack/pack_candidate.h"
#include "evolve/sandbox/sandboxed_trials.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kTrainingPairs = 1;  // of a candidate's judging: its gate

// What training said, beside what the kernels did.
Json training_details(const Judgement& trained) {
  Json out = trained.details;
  out["outcome"] = word(trained.outcome);
  if (!trained.reason.empty()) out["reason"] = trained.reason;
  out["log_speed"] = trained.log_speed;
  out["log_memory"] = trained.log_memory;
  return out;
}

// A bench that only could not tell whether training as a whole gains: the claim is about the kernels, and its gates for the loss all passed.
bool only_gain_is_open(const Judgement& bench) {
  const Json verdict = bench.details.value("verdict", Json::object());
  const Json gates = verdict.value("gates", Json());
  if (!gates.is_array() || gates.empty()) return false;
  for (const Json& gate : gates) {
    if (gate.value("state", "") != word(GateState::kPass) && gate.value("state", "") != word(GateState::kUnchecked)) return false;
  }
  return bench.log_speed.size() >= kFewestPairs;
}

class PackJudge : public Judge {
 public:
  PackJudge(FileSystem& files, const fs::path& folder, PackJudgeSettings settings, Isolation isolation, const std::atomic<bool>* stop)
      : files_(files), folder_(fs::absolute(folder)), settings_(std::move(settings)), isolation_(isolation), stop_(stop), trials_(files) {}

  Status prepare(const PackSources& start) {
    const bool mlx = settings_.manifest.target == PackTarget::kMlx;
    TRY(open_pack_judging(files_, work(), isolation_, mlx ? "evolora_mlx_pack_worker" : "evolora_pack_worker"));
    const KernelPack pack{.manifest = settings_.manifest, .sources = start};
    start_digest_ = pack.digest();
    const fs::path start_folder = TRY(pack_folder(pack));
    const fs::path baseline = TRY(build_baseline(files_, start_folder, isolation_, stop_));
    TRY(copy_library(baseline, gated_library_path(work(), pack)));
    return mlx ? prepare_mlx(pack, baseline) : prepare_cpu(pack, baseline, start_folder);
  }

  Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    Judgement out = TRY(kernels_->judge(candidate, seed, stop));
    if (out.outcome != Outcome::kScored || is_start(candidate)) return out;
    if (const auto problem = growth_problem(settings_.objective, settings_.limits, out)) return refused(std::move(out), *problem);
    if (training_ == nullptr || fitness_of(settings_.objective, out).value_or(0) <= 0) return out;
    const Judgement trained = TRY(training_->judge(candidate, seed, stop));
    out.details["training"] = training_details(trained);
    out.details["gates"].push_back("training");
    out.seconds += trained.seconds;
    out.gate = "training";
    if (trained.outcome == Outcome::kScored) return out;
    out.outcome = trained.outcome;
    out.reason = trained.reason;
    out.artifact = trained.artifact;
    return out;
  }

  // Kernels only: a training is too noisy to say anything about them.
  Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    return kernels_->measure_again(candidate, seed, stop);
  }

  Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    Judgement out = TRY(kernels_->confirm(candidate, seed, stop));
    if (out.outcome != Outcome::kScored) return out;
    if (const auto problem = growth_problem(settings_.limits, out)) return refused(std::move(out), *problem);
    if (training_ == nullptr) return out;
    const Judgement trained = TRY(training_->confirm(candidate, seed, stop));
    out.details["training"] = training_details(trained);
    out.details["folder"] = trained.details.value("folder", Json());
    out.seconds += trained.seconds;
    out.gate = "bench";
    if (trained.outcome == Outcome::kScored) return out;
    out.reason = "in training: " + trained.reason;
    if (trained.outcome == Outcome::kInconclusive && only_gain_is_open(trained)) return out;
    out.outcome = trained.outcome;
    return out;
  }

 private:
  Status prepare_cpu(const KernelPack& start, const fs::path& baseline, const fs::path& start_folder) {
    kernels_ = TRY(SourceJudge::create(files_, {.start = start,
                                                .work = work(),
                                                .isolation = isolation_,
                                                .baseline = baseline,
                                                .threads = settings_.threads,
                                                .pairs = settings_.pairs,
                                                .shapes = settings_.shapes,
                                                .held_out_shapes = settings_.held_out_shapes}));
    if (!settings_.training) return {};
    const Json around = settings_.training->baseline;
    RecipeJudgeSettings training = *settings_.training;
    training.baseline = recipe_with(around, start_folder);
    training.pairs = kTrainingPairs;
    const auto recipe_of = [this, around](const Candidate& candidate) -> Result<Json> {
      const KernelPack pack = TRY(pack_of(candidate));
      return recipe_with(around, TRY(built_folder(pack)));
    };
    const bool isolated = isolation_ == Isolation::kSandbox;
    training_ = TRY(make_recipe_judge(files_, folder_, training, {.recipe_of = recipe_of, .launcher = isolated ? &trials_ : nullptr}));
    return {};
  }

  // The judge of kernels trains too where it is asked to; here that comes after the limits, of what is better only, and on halves of the data.
  Status prepare_mlx(const KernelPack& start, const fs::path& baseline) {
    kernels_ = TRY(MlxSourceJudge::create(files_, {.start = start,
                                                   .work = work(),
                                                   .isolation = isolation_,
                                                   .baseline = baseline,
                                                   .pairs = settings_.pairs,
                                                   .shapes = settings_.mlx_shapes,
                                                   .held_out_shapes = settings_.mlx_held_out_shapes}));
    if (!settings_.training) return {};
    MlxTrainingJudgeOptions options{.settings = *settings_.training,
                                    .manifest = settings_.manifest,
                                    .baseline = baseline,
                                    .library = [this](const Candidate& candidate) -> Result<fs::path> {
                                      const KernelPack pack = TRY(pack_of(candidate));
                                      return gated_library_path(work(), pack);
                                    },
                                    .isolation = isolation_};
    options.settings.pairs = kTrainingPairs;
    training_ = TRY(make_mlx_training_judge(files_, folder_, std::move(options)));
    return {};
  }

  static Judgement refused(Judgement judgement, const std::string& reason) {
    judgement.outcome = Outcome::kRejected;
    judgement.reason = judgement.artifact = reason;
    return judgement;
  }

  Result<KernelPack> pack_of(const Candidate& candidate) const {
    return KernelPack{.manifest = settings_.manifest, .sources = TRY(program_of(candidate))};
  }

  static Json recipe_with(Json recipe, const fs::path& pack) {
    recipe["pack"] = fs::absolute(pack).lexically_normal().string();
    return recipe;
  }

  bool is_start(const Candidate& candidate) const {
    const auto pack = pack_of(candidate);
    return pack.ok() && pack->digest() == start_digest_;
  }

  Result<fs::path> pack_folder(const KernelPack& pack) {
    const fs::path folder = folder_ / "packs" / pack.digest().substr(0, 12);
    TRY(write_pack(files_, folder, pack));
    return folder;
  }

  // With the library that was judged: whoever takes the pack runs that, and starts no compiler of its own.
  Result<fs::path> built_folder(const KernelPack& pack) {
    const fs::path folder = TRY(pack_folder(pack));
    const fs::path library = TRY(built_library_path(*sandboxed_pack_compiler(isolation_, stop_), pack, folder));
    TRY(files_.create_directories(library.parent_path()));
    TRY(copy_library(gated_library_path(work(), pack), library));
    return folder;
  }

  fs::path work() const { return folder_ / "judge"; }

  Status copy_library(const fs::path& from, const fs::path& to) {
    if (files_.exists(to)) return {};
    return write_file_atomically(files_, to, TRY(files_.read(from)));
  }

  FileSystem& files_;
  fs::path folder_;
  PackJudgeSettings settings_;
  Isolation isolation_;
  const std::atomic<bool>* stop_;
  SandboxedTrials trials_;
  std::string start_digest_;
  std::unique_ptr<Judge> kernels_;
  std::unique_ptr<Judge> training_;
};

}  // namespace

Objective usual_objective(PackTarget target) { return target == PackTarget::kMlx ? Objective::kMemory : Objective::kSpeed; }

Result<std::unique_ptr<Judge>> make_pack_judge(FileSystem& files, const fs::path& folder, const PackJudgeSettings& settings, const PackSources& start,
                                               Isolation isolation, const std::atomic<bool>* stop) {
  auto judge = std::make_unique<PackJudge>(files, folder, settings, isolation, stop);
  TRY(judge->prepare(start));
  return std::unique_ptr<Judge>(std::move(judge));
}

}  // namespace evolora
