// The ledger: one line per reservation, one per settlement, each synced before anything else happens.
#include "evolve/llm/budget.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <span>

#include "base/check.h"
#include "base/json.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPicodollarsPerDollar = 1e12;
constexpr double kMostDollars = 1e6;  // 10^18 picodollars: a ninth of what 64 bits hold

Error too_many_tokens() { return {ErrorCode::kTooLarge, "tokens or prices of the language model do not fit 64 bits"}; }

}  // namespace

double dollars(Picodollars amount) { return static_cast<double>(amount) / kPicodollarsPerDollar; }

Result<Picodollars> picodollars(double amount) {
  if (!(amount >= 0 && amount <= kMostDollars)) {
    return Error{ErrorCode::kTooLarge, fmt::format("expected an amount in [0, {:.0f}] dollars, got {}", kMostDollars, amount)};
  }
  return static_cast<Picodollars>(std::ceil(amount * kPicodollarsPerDollar));
}

Result<Picodollars> cost_of(const TokenCount& tokens, const TokenPrice& price) {
  const auto prompt = checked_mul(tokens.prompt, price.prompt);
  const auto completion = checked_mul(tokens.completion, price.completion);
  const auto sum = prompt && completion ? checked_add(*prompt, *completion) : std::nullopt;
  if (!sum) return too_many_tokens();
  return *sum;
}

Result<Budget> Budget::open(FileSystem& files, const fs::path& path, const BudgetLimits& limits) {
  Budget budget(files, path, limits);
  if (files.exists(path)) TRY(budget.read_ledger());
  return budget;
}

Status Budget::read_ledger() {
  std::string text = TRY(files_->read(path_));
  if (!text.empty() && text.back() != '\n') {
    text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
    TRY(write_file_atomically(*files_, path_, text));
  }
  std::map<std::int64_t, Reservation> open;
  std::int64_t line_number = 0;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = text.find('\n', start);
    TRY(read_line(text.substr(start, end - start), ++line_number, open));
    start = end + 1;
  }
  for (const auto& [number, reservation] : open) TRY(add(reservation.most, reservation.cost));
  return {};
}

Status Budget::read_line(const std::string& line, std::int64_t line_number, std::map<std::int64_t, Reservation>& open) {
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::kBadData, fmt::format("{}:{}: {}; expected a line of the ledger of spent tokens", path_.string(), line_number, what)};
  };
  const Result<Json> parsed = parse_json(line);
  if (!parsed.ok()) return bad(parsed.error().message);
  const Json& entry = *parsed;
  const bool reserves = entry.is_object() && entry.contains("reserve");
  for (const char* key : {reserves ? "reserve" : "settle", "prompt", "completion", "cost_picodollars"}) {
    if (!entry.is_object() || !entry.contains(key) || !entry[key].is_number_integer() || entry[key].get<std::int64_t>() < 0) {
      return bad(fmt::format("no whole number '{}'", key));
    }
  }
  const auto number = entry[reserves ? "reserve" : "settle"].get<std::int64_t>();
  const TokenCount tokens = {entry["prompt"].get<std::int64_t>(), entry["completion"].get<std::int64_t>()};
  const auto cost = entry["cost_picodollars"].get<Picodollars>();
  if (reserves) {
    if (number != next_) return bad(fmt::format("reservation {} where {} was expected", number, next_));
    ++next_;
    open[number] = {.number = number, .most = tokens, .cost = cost};
    return {};
  }
  if (open.erase(number) == 0) return bad(fmt::format("settles {}, which is not open", number));
  return add(tokens, cost);
}

Status Budget::add(const TokenCount& tokens, Picodollars cost) {
  const auto prompt = checked_add(spent_.prompt, tokens.prompt);
  const auto completion = checked_add(spent_.completion, tokens.completion);
  const auto total = prompt && completion ? checked_add(*prompt, *completion) : std::nullopt;
  const auto money = checked_add(money_, cost);
  if (!total || !money) return too_many_tokens();
  spent_ = {*prompt, *completion};
  money_ = *money;
  return {};
}

Result<Budget::Reservation> Budget::reserve(const TokenCount& most, const TokenPrice& price) {
  CHECK(most.prompt >= 0 && most.completion >= 0);
  const Picodollars cost = TRY(cost_of(most, price));
  const auto tokens = checked_add(spent_.total(), most.total());
  const auto money = checked_add(money_, cost);
  if (!tokens || !money) return too_many_tokens();
  if (limits_.tokens && *tokens > *limits_.tokens) {
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("token budget reached: {} of {} spent, and the next request may take {} (a byte counts as a token until the endpoint says)",
                    spent_.total(), *limits_.tokens, most.total())};
  }
  if (limits_.money && *money > *limits_.money) {
    return Error{ErrorCode::kUnsupported, fmt::format("money budget reached: {:.6f} of {:.6f} dollars spent, and the next request may take {:.6f}",
                                                      dollars(money_), dollars(*limits_.money), dollars(cost))};
  }
  const Reservation reservation = {.number = next_, .most = most, .cost = cost, .price = price};
  TRY(write_line(Json{{"reserve", next_}, {"prompt", most.prompt}, {"completion", most.completion}, {"cost_picodollars", cost}}.dump()));
  ++next_;
  TRY(add(most, cost));
  return reservation;
}

Status Budget::settle(const Reservation& reservation, const TokenCount& used) {
  CHECK(used.prompt >= 0 && used.completion >= 0);
  const Picodollars cost = TRY(cost_of(used, reservation.price));
  TRY(write_line(Json{{"settle", reservation.number}, {"prompt", used.prompt}, {"completion", used.completion}, {"cost_picodollars", cost}}.dump()));
  TRY(add({used.prompt - reservation.most.prompt, used.completion - reservation.most.completion}, cost - reservation.cost));
  if (used.total() <= reservation.most.total() && cost <= reservation.cost) return {};
  return Error{
      ErrorCode::kDependency,
      fmt::format("the endpoint reports {} prompt and {} completion tokens where at most {} and {} could be: it does not keep to max_tokens, so "
                  "no budget can be kept with it",
                  used.prompt, used.completion, reservation.most.prompt, reservation.most.completion)};
}

Status Budget::write_line(const std::string& line) {
  const std::unique_ptr<WritableFile> file = TRY(files_->append(path_));
  const std::string text = line + "\n";
  TRY(file->write(std::as_bytes(std::span(text))));
  TRY(file->sync());
  return file->close();
}

}  // namespace evolora
