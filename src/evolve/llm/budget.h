// What a search may spend on language models, in tokens and money, and a ledger of what it spent. Every attempt is reserved at its largest possible
// cost before it is sent, and the reservation is on the disk first: also a killed search that goes on cannot exceed the limits.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/file_system.h"

namespace evolora {

// Money is counted in whole millionths of a millionth of a dollar, so sums are exact: a price per million tokens is this many times 10^6 per token.
using Picodollars = std::int64_t;
double dollars(Picodollars amount);
// kTooLarge above a million dollars. Rounds up.
Result<Picodollars> picodollars(double dollars);

struct TokenCount {
  std::int64_t prompt = 0;
  std::int64_t completion = 0;
  std::int64_t total() const { return prompt + completion; }
  bool operator==(const TokenCount&) const = default;
};

struct TokenPrice {
  Picodollars prompt = 0;  // per token
  Picodollars completion = 0;
};
// kTooLarge if it does not fit.
Result<Picodollars> cost_of(const TokenCount& tokens, const TokenPrice& price);

struct BudgetLimits {
  std::optional<std::int64_t> tokens;
  std::optional<Picodollars> money;
};

// Not thread-safe; one process at a time (the search's archive sees to that).
class Budget {
 public:
  // The ledger at path (JSON lines), created when missing. A last line that a crash cut off is dropped: its attempt was not sent. A reservation
  // without settlement counts in full. kBadData for any other line that is not the ledger's.
  static Result<Budget> open(FileSystem& files, const fs::path& path, const BudgetLimits& limits);

  struct Reservation {
    std::int64_t number = 0;
    TokenCount most;
    Picodollars cost = 0;
    TokenPrice price;
  };
  // kUnsupported, before anything is sent, if spent + most would exceed a limit: the search has to end. kIo if it cannot be written down.
  Result<Reservation> reserve(const TokenCount& most, const TokenPrice& price);
  // used: what the attempt cost. kDependency if that is more than was reserved (an endpoint that does not keep to max_tokens); it is counted.
  Status settle(const Reservation& reservation, const TokenCount& used);

  TokenCount spent_tokens() const { return spent_; }
  Picodollars spent_money() const { return money_; }

 private:
  Budget(FileSystem& files, fs::path path, BudgetLimits limits) : files_(&files), path_(std::move(path)), limits_(limits) {}
  Status read_ledger();
  Status read_line(const std::string& line, std::int64_t line_number, std::map<std::int64_t, Reservation>& open);
  Status add(const TokenCount& tokens, Picodollars cost);
  Status write_line(const std::string& line);

  FileSystem* files_;
  fs::path path_;
  BudgetLimits limits_;
  TokenCount spent_;  // settled, and open reservations of earlier processes
  Picodollars money_ = 0;
  std::int64_t next_ = 0;
};

}  // namespace evolora
