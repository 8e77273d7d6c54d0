// A prepared SQLite statement: bind, step, read; errors as values that name the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/file_system.h"

struct sqlite3;
struct sqlite3_stmt;

namespace evolora {

// What SQLite says now, with the code that fits: kCorrupt, kIo, kTooLarge (disk full counts as kIo).
Error sqlite_error(sqlite3* database, const fs::path& path, const std::string& what);

class Statement {
 public:
  static Result<Statement> prepare(sqlite3* database, const fs::path& path, const std::string& sql);

  // Places count from 1, as in SQL.
  Status bind(int place, std::int64_t value);
  Status bind(int place, const std::string& text);
  // True: there is a row.
  Result<bool> step();
  Status run() {
    TRY(step());
    return {};
  }
  // Columns count from 0.
  std::int64_t integer(int column) const;
  std::string text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3* database, fs::path path, sqlite3_stmt* statement) : database_(database), path_(std::move(path)), statement_(statement) {}
  sqlite3* database_;
  fs::path path_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// One or several statements without results.
Status execute(sqlite3* database, const fs::path& path, const std::string& sql);

}  // namespace evolora
