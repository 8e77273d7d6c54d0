// The part of SQLite's C interface that the archive uses.
#include "evolve/archive/statement.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace evolora {

Error sqlite_error(sqlite3* database, const fs::path& path, const std::string& what) {
  const int code = database == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database) & 0xFF;
  const char* words = database == nullptr ? "out of memory" : sqlite3_errmsg(database);
  if (code == SQLITE_NOTADB) return {ErrorCode::kBadData, fmt::format("{}: not an archive of a search (no SQLite file)", path.string())};
  if (code == SQLITE_CORRUPT)
    return {ErrorCode::kCorrupt, fmt::format("{}: the archive is damaged: {}; restore it from a copy", path.string(), words)};
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
    return {ErrorCode::kIo, fmt::format("{}: another program holds the file: {}", path.string(), words)};
  return {ErrorCode::kIo, fmt::format("{}: {}: {}", path.string(), what, words)};
}

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Result<Statement> Statement::prepare(sqlite3* database, const fs::path& path, const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) return sqlite_error(database, path, "cannot read");
  return Statement(database, path, statement);
}

Status Statement::bind(int place, std::int64_t value) {
  if (sqlite3_bind_int64(statement_.get(), place, value) != SQLITE_OK) return sqlite_error(database_, path_, "cannot bind");
  return {};
}

Status Statement::bind(int place, const std::string& text) {
  if (sqlite3_bind_text64(statement_.get(), place, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK) {
    return sqlite_error(database_, path_, "cannot bind");
  }
  return {};
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return sqlite_error(database_, path_, "cannot read or write");
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::text(int column) const {
  const auto* bytes = sqlite3_column_text(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? "" : std::string(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

Status execute(sqlite3* database, const fs::path& path, const std::string& sql) {
  if (sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return sqlite_error(database, path, "cannot write");
  return {};
}

}  // namespace evolora
