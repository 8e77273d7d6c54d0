// Everything a search knows, in one SQLite file: append-only tables from which its state can be made again.
//
//   plan          one row: everything that fixes the search (JSON), and its SHA-256
//   sources       texts by their SHA-256
//   individuals   (run, number): genome, sources by digest, parents, origin, island; run counts the proposers of a comparison from 0
//   measurements  seq: what a judge said about an individual: kind judge, again, confirm
//   exchanges     seq: what a language model was asked and answered (JSON)
//
// Written in WAL mode with full synchronisation: what append returned from is on the device, and an append is one transaction, so kill -9 at any
// moment leaves whole events. Nothing is ever updated or deleted. SQLite has its own file access; no other file is opened here but the lock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_lock.h"
#include "base/file_system.h"
#include "evolve/proposer.h"

struct sqlite3;

namespace evolora {

enum class MeasurementKind { kJudge, kAgain, kConfirm };
const char* word(MeasurementKind kind);  // "judge", "again", "confirm"

// One event of a search, in order: an individual with its first judgement, or a further measurement of one that is there (individual is then
// empty).
struct SearchEvent {
  int run = 0;
  MeasurementKind kind = MeasurementKind::kJudge;
  std::int64_t number = 0;
  std::uint64_t seed = 0;  // that the judge was given
  Judgement judgement;
  std::optional<Individual> individual;  // kJudge only; its judgement is the one above, its fitness is not kept
};

class Archive {
 public:
  // A new archive. kUsage if the file exists; kIo.
  static Result<Archive> create(const fs::path& path, const nlohmann::ordered_json& plan);
  // For going on. kUsage if another process writes it; kNotFound; kCorrupt for a torn file, kBadData for a foreign one or another version.
  static Result<Archive> open(const fs::path& path);
  // For looking, also while a search runs.
  static Result<Archive> open_read_only(const fs::path& path);

  const nlohmann::ordered_json& plan() const { return plan_; }
  const std::string& plan_sha256() const { return plan_sha256_; }

  // In the order of appending. kCorrupt, kBadData naming row and field.
  Result<std::vector<SearchEvent>> events() const;
  // One transaction.
  Status append(const SearchEvent& event);

  // Exchanges of the language models of a run, in order; number: of the proposal they belong to.
  struct Exchange {
    int run = 0;
    std::int64_t number = 0;
    nlohmann::ordered_json json;
  };
  Result<std::vector<Exchange>> exchanges() const;
  Status append_exchange(const Exchange& exchange);

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  using Database = std::unique_ptr<sqlite3, Close>;

  Archive(fs::path path, Database database, std::optional<FileLock> lock)
      : path_(std::move(path)), database_(std::move(database)), lock_(std::move(lock)) {}
  static Result<Database> connect(const fs::path& path, int flags);
  Status check_and_load();
  Result<std::vector<SearchEvent>> read_events() const;

  fs::path path_;
  Database database_;
  std::optional<FileLock> lock_;  // of a writer
  nlohmann::ordered_json plan_;
  std::string plan_sha256_;
};

}  // namespace evolora
