// The judge of a search: a cascade of gates, each of which ends a bad candidate cheaply. The judge owns inputs, clocks, baseline and verdict;
// proposers never see more than a Judgement.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "evolve/candidate.h"
#include "measure/estimators.h"

namespace evolora {

// Most bytes of a Judgement's artifact, also in prompts.
inline constexpr std::size_t kArtifactBytes = 4096;

enum class Outcome {
  kScored,        // passed all gates it was put to; has measurements
  kRejected,      // failed a gate; has no score, not even a bad one
  kInconclusive,  // could not be judged (timed out waiting for the machine, measurements contradict each other): neither reward nor punishment
  kQuarantined,   // faster than the machine can be: needs a person
};
const char* word(Outcome outcome);  // "scored", ...

struct Judgement {
  Outcome outcome = Outcome::kRejected;
  std::string gate;      // the last gate it was put to: "parse", "rules", "compile", "numerics", "determinism", "microbenchmark", "training", "bench"
  std::string reason;    // one line; empty for kScored
  std::string artifact;  // what may help a proposer: the compiler's words, which output was wrong by how much. Capped at 4 KiB, no control characters
  // Raw, one per pair: log(baseline / candidate), so above 0 is better. Appended to by a re-measurement, never replaced.
  std::vector<double> log_speed;
  std::vector<double> log_memory;
  std::vector<int> cell;  // MAP-Elites bins of its behaviour, fixed meaning per axis (search_space's axes)
  nlohmann::ordered_json details = nlohmann::ordered_json::object();  // everything else that was measured, for people and reports
  double seconds = 0;                                                 // the judging took, parent's clock
};

nlohmann::ordered_json judgement_to_json(const Judgement& judgement);
Result<Judgement> judgement_from_json(const nlohmann::ordered_json& json, const std::string& source);

class Judge {
 public:
  virtual ~Judge() = default;
  // The best so far of the run whose candidates follow (nothing: the baseline), so that a judge may stop measuring what is surely worse. Called
  // before every judge; a hint: what is judged does not depend on it, only how long.
  virtual void set_incumbent(const std::optional<Judgement>& /*best*/) {}
  // Puts the candidate to the cascade. seed: of everything random in this judging (inputs, data order, order inside pairs); the same seed for the
  // same candidate gives the same inputs. kInterrupted when stop became true; other errors are failures of the judge itself (disk full), not of the
  // candidate.
  virtual Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) = 0;
  // More measurements of a candidate that was scored: only what is new.
  virtual Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) = 0;
  // A whole paired bench on seeds, shapes and data that the search never saw. Only this may be quoted. details has the verdict.
  virtual Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) = 0;
};

}  // namespace evolora
