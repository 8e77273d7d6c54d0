// The tables, and events to rows and back.
#include "evolve/archive/archive.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <map>

#include "base/json.h"
#include "base/sha256.h"
#include "evolve/archive/statement.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kApplication = 0x45764F6C;  // "EvOl": tells our file from any other SQLite file
constexpr int kVersion = 1;

const char* const kTables = R"sql(
CREATE TABLE plan (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE sources (sha256 TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE individuals (run INTEGER NOT NULL, number INTEGER NOT NULL, island INTEGER NOT NULL, digest TEXT NOT NULL, genome TEXT NOT NULL,
  sources TEXT NOT NULL, parents TEXT NOT NULL, origin TEXT NOT NULL, rejected TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (run, number));
CREATE TABLE measurements (seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, seed TEXT NOT NULL,
  judgement TEXT NOT NULL, FOREIGN KEY (run, number) REFERENCES individuals (run, number));
CREATE TABLE exchanges (seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, number INTEGER NOT NULL, json TEXT NOT NULL);
)sql";

std::optional<MeasurementKind> kind_of(const std::string& text) {
  for (const MeasurementKind kind : {MeasurementKind::kJudge, MeasurementKind::kAgain, MeasurementKind::kConfirm}) {
    if (text == word(kind)) return kind;
  }
  return std::nullopt;
}

fs::path lock_path(const fs::path& path) { return path.string() + ".lock"; }

Result<FileLock> lock_for_writing(const fs::path& path) {
  std::optional<FileLock> lock = TRY(FileLock::try_lock(lock_path(path)));
  if (lock) return std::move(*lock);
  return Error{ErrorCode::kUsage, fmt::format("{}: another search is writing this archive; wait for it, or give another folder", path.string())};
}

Json sources_by_digest(const std::map<std::string, std::string>& sources) {
  Json out = Json::object();
  for (const auto& [name, text] : sources) out[name] = sha256_hex(text);
  return out;
}

Status bind_json(Statement& statement, int place, const Json& json) {
  const std::string text = TRY(json_to_text(json));
  return statement.bind(place, text);
}

// A column that must hold JSON of some kind.
Result<Json> json_column(const fs::path& path, const std::string& place, const std::string& text, bool (Json::*is)() const noexcept) {
  auto json = parse_json(text);
  if (!json.ok()) return Error{ErrorCode::kBadData, fmt::format("{}: {}: {}", path.string(), place, json.error().message)};
  if (!(*json.*is)()) return Error{ErrorCode::kBadData, fmt::format("{}: {}: not what it should be: {}", path.string(), place, json->type_name())};
  return std::move(*json);
}

}  // namespace

const char* word(MeasurementKind kind) {
  switch (kind) {
    case MeasurementKind::kJudge: return "judge";
    case MeasurementKind::kAgain: return "again";
    case MeasurementKind::kConfirm: return "confirm";
  }
  return "";
}

void Archive::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

Result<Archive::Database> Archive::connect(const fs::path& path, int flags) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  Database database(raw);
  if (code != SQLITE_OK) return sqlite_error(raw, path, "cannot open");
  sqlite3_busy_timeout(raw, 5000);  // a reader's short lock is no reason to fail
  return database;
}

Result<Archive> Archive::create(const fs::path& path, const Json& plan) {
  FileLock lock = TRY(lock_for_writing(path));
  std::error_code ignored;
  if (fs::exists(path, ignored))
    return Error{ErrorCode::kUsage, fmt::format("{} already holds a search: go on with --resume, or give another folder with --out", path.string())};
  // Under another name until it is whole, so that a crash does not leave half an archive behind.
  const fs::path draft = path.string() + ".new";
  fs::remove(draft, ignored);
  {
    Database database = TRY(connect(draft, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    TRY(execute(database.get(), draft, fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};", kApplication, kVersion)));
    TRY(execute(database.get(), draft, std::string("BEGIN;") + kTables));
    const std::string text = plan.dump();
    Statement insert = TRY(Statement::prepare(database.get(), draft, "INSERT INTO plan VALUES (1, ?, ?)"));
    TRY(insert.bind(1, text));
    TRY(insert.bind(2, sha256_hex(text)));
    TRY(insert.run());
    TRY(execute(database.get(), draft, "COMMIT"));
  }
  TRY(real_file_system().rename(draft, path));
  TRY(real_file_system().sync_directory(path.parent_path().empty() ? fs::path(".") : path.parent_path()));
  Archive archive(path, TRY(connect(path, SQLITE_OPEN_READWRITE)), std::move(lock));
  TRY(execute(archive.database_.get(), path, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"));
  TRY(archive.check_and_load());
  return archive;
}

Result<Archive> Archive::open(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return Error{ErrorCode::kNotFound, fmt::format("{}: no search here to go on with", path.string())};
  FileLock lock = TRY(lock_for_writing(path));
  Archive archive(path, TRY(connect(path, SQLITE_OPEN_READWRITE)), std::move(lock));
  TRY(archive.check_and_load());
  TRY(execute(archive.database_.get(), path, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"));
  return archive;
}

Result<Archive> Archive::open_read_only(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return Error{ErrorCode::kNotFound, fmt::format("{}: no such archive of a search", path.string())};
  Archive archive(path, TRY(connect(path, SQLITE_OPEN_READONLY)), std::nullopt);
  TRY(archive.check_and_load());
  return archive;
}

Status Archive::check_and_load() {
  Statement application = TRY(Statement::prepare(database_.get(), path_, "PRAGMA application_id"));
  TRY(application.run());
  if (application.integer(0) != kApplication) return Error{ErrorCode::kBadData, fmt::format("{}: not an archive of a search", path_.string())};
  Statement version = TRY(Statement::prepare(database_.get(), path_, "PRAGMA user_version"));
  TRY(version.run());
  if (version.integer(0) != kVersion) {
    return Error{ErrorCode::kBadData, fmt::format("{}: expected an archive of version {}, got {}; use the program that made it", path_.string(),
                                                  kVersion, version.integer(0))};
  }
  Statement check = TRY(Statement::prepare(database_.get(), path_, "PRAGMA quick_check(1)"));
  TRY(check.run());
  if (check.text(0) != "ok") {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: the archive is damaged: {}; restore it from a copy", path_.string(), check.text(0))};
  }
  Statement plan = TRY(Statement::prepare(database_.get(), path_, "SELECT json, sha256 FROM plan"));
  if (!TRY(plan.step())) return Error{ErrorCode::kBadData, fmt::format("{}: the archive has no plan", path_.string())};
  plan_sha256_ = plan.text(1);
  if (sha256_hex(plan.text(0)) != plan_sha256_) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: the plan does not have the digest that stands beside it; restore it from a copy", path_.string())};
  }
  plan_ = TRY(json_column(path_, "plan", plan.text(0), &Json::is_object));
  return {};
}

Status Archive::append(const SearchEvent& event) {
  sqlite3* db = database_.get();
  const auto write = [&]() -> Status {
    if (event.individual) {
      const Individual& one = *event.individual;
      for (const auto& [name, text] : one.candidate.sources) {
        Statement source = TRY(Statement::prepare(db, path_, "INSERT OR IGNORE INTO sources VALUES (?, ?)"));
        TRY(source.bind(1, sha256_hex(text)));
        TRY(source.bind(2, text));
        TRY(source.run());
      }
      Statement insert = TRY(Statement::prepare(db, path_, "INSERT INTO individuals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
      TRY(insert.bind(1, std::int64_t{event.run}));
      TRY(insert.bind(2, one.number));
      TRY(insert.bind(3, std::int64_t{one.island}));
      TRY(insert.bind(4, one.digest));
      TRY(bind_json(insert, 5, candidate_to_json(one.candidate)["genome"]));
      TRY(bind_json(insert, 6, sources_by_digest(one.candidate.sources)));
      TRY(insert.bind(7, Json(one.parents).dump()));
      TRY(insert.bind(8, one.origin));
      TRY(insert.bind(9, one.rejected));
      TRY(bind_json(insert, 10, one.record));
      TRY(insert.run());
    }
    Statement insert = TRY(Statement::prepare(db, path_, "INSERT INTO measurements (run, number, kind, seed, judgement) VALUES (?, ?, ?, ?, ?)"));
    TRY(insert.bind(1, std::int64_t{event.run}));
    TRY(insert.bind(2, event.number));
    TRY(insert.bind(3, std::string(word(event.kind))));
    TRY(insert.bind(4, std::to_string(event.seed)));
    TRY(bind_json(insert, 5, judgement_to_json(event.judgement)));
    return insert.run();
  };
  TRY(execute(db, path_, "BEGIN IMMEDIATE"));
  Status status = write();
  if (status.ok()) status = execute(db, path_, "COMMIT");
  if (!status.ok()) sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

Result<std::vector<SearchEvent>> Archive::events() const {
  sqlite3* db = database_.get();
  // One moment of a search that may be running.
  TRY(execute(db, path_, "BEGIN"));
  Result<std::vector<SearchEvent>> events = read_events();
  sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  return events;
}

Result<std::vector<SearchEvent>> Archive::read_events() const {
  sqlite3* db = database_.get();
  std::map<std::string, std::string> texts;
  Statement sources = TRY(Statement::prepare(db, path_, "SELECT sha256, text FROM sources"));
  while (TRY(sources.step())) {
    std::string text = sources.text(1);
    if (sha256_hex(text) != sources.text(0)) {
      return Error{ErrorCode::kCorrupt, fmt::format("{}: sources: {} has another digest", path_.string(), sources.text(0))};
    }
    texts[sources.text(0)] = std::move(text);
  }
  std::map<std::pair<std::int64_t, std::int64_t>, Individual> individuals;
  Statement rows = TRY(Statement::prepare(
      db, path_, "SELECT run, number, island, digest, genome, sources, parents, origin, rejected, record FROM individuals ORDER BY run, number"));
  while (TRY(rows.step())) {
    Individual one;
    one.number = rows.integer(1);
    one.island = static_cast<int>(rows.integer(2));
    one.digest = rows.text(3);
    const std::string place = fmt::format("individual {} of run {}", one.number, rows.integer(0));
    Json candidate = {{"genome", TRY(json_column(path_, place, rows.text(4), &Json::is_object))}, {"sources", Json::object()}};
    const Json digests = TRY(json_column(path_, place, rows.text(5), &Json::is_object));
    for (const auto& [name, digest] : digests.items()) {
      const auto text = digest.is_string() ? texts.find(digest.get<std::string>()) : texts.end();
      if (text == texts.end()) return Error{ErrorCode::kCorrupt, fmt::format("{}: {}: the text of {} is missing", path_.string(), place, name)};
      candidate["sources"][name] = text->second;
    }
    one.candidate = TRY(candidate_from_json(candidate, path_.string() + ": " + place));
    if (one.candidate.digest() != one.digest) return Error{ErrorCode::kCorrupt, fmt::format("{}: {}: its digest is another", path_.string(), place)};
    const Json parents = TRY(json_column(path_, place, rows.text(6), &Json::is_array));
    for (const Json& parent : parents) {
      if (!parent.is_number_integer()) return Error{ErrorCode::kBadData, fmt::format("{}: {}: parents are numbers", path_.string(), place)};
      one.parents.push_back(parent.get<std::int64_t>());
    }
    one.origin = rows.text(7);
    one.rejected = rows.text(8);
    one.record = TRY(json_column(path_, place, rows.text(9), &Json::is_object));
    individuals.emplace(std::pair(rows.integer(0), one.number), std::move(one));
  }
  std::vector<SearchEvent> events;
  Statement measurements = TRY(Statement::prepare(db, path_, "SELECT seq, run, number, kind, seed, judgement FROM measurements ORDER BY seq"));
  while (TRY(measurements.step())) {
    const std::string place = fmt::format("{}: measurement {}", path_.string(), measurements.integer(0));
    SearchEvent event;
    event.run = static_cast<int>(measurements.integer(1));
    event.number = measurements.integer(2);
    const auto kind = kind_of(measurements.text(3));
    if (!kind) return Error{ErrorCode::kBadData, fmt::format("{}: kind: expected judge, again or confirm, got '{}'", place, measurements.text(3))};
    event.kind = *kind;
    event.seed = std::strtoull(measurements.text(4).c_str(), nullptr, 10);
    const Json judgement = TRY(json_column(path_, place, measurements.text(5), &Json::is_object));
    event.judgement = TRY(judgement_from_json(judgement, place));
    const auto individual = individuals.find({measurements.integer(1), event.number});
    if (individual == individuals.end()) return Error{ErrorCode::kCorrupt, fmt::format("{}: individual {} is missing", place, event.number)};
    if (event.kind == MeasurementKind::kJudge) {
      event.individual = individual->second;
      event.individual->judgement = event.judgement;
    }
    events.push_back(std::move(event));
  }
  return events;
}

Result<std::vector<Archive::Exchange>> Archive::exchanges() const {
  std::vector<Exchange> out;
  Statement rows = TRY(Statement::prepare(database_.get(), path_, "SELECT run, number, json, seq FROM exchanges ORDER BY seq"));
  while (TRY(rows.step())) {
    out.push_back({static_cast<int>(rows.integer(0)), rows.integer(1),
                   TRY(json_column(path_, fmt::format("exchange {}", rows.integer(3)), rows.text(2), &Json::is_object))});
  }
  return out;
}

Status Archive::append_exchange(const Exchange& exchange) {
  Statement insert = TRY(Statement::prepare(database_.get(), path_, "INSERT INTO exchanges (run, number, json) VALUES (?, ?, ?)"));
  TRY(insert.bind(1, std::int64_t{exchange.run}));
  TRY(insert.bind(2, exchange.number));
  TRY(bind_json(insert, 3, exchange.json));
  return insert.run();
}

}  // namespace evolora
