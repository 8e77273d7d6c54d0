// How to read losses and tokens from what an external command prints: a small declaration per figure, either a path into JSON lines or a regular
// expression.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

// {"train_loss": "/loss", "val_loss": {"regex": "Val loss ([0-9.]+)"}, ...}. A text is a JSON pointer (RFC 6901) into every line that is a JSON
// object; a regex (ECMAScript, one group) is searched in every line without its terminal colours, and "scale" beside it multiplies what it finds
// ("1.5k tokens": 1000). Each occurrence is a value; a line may hold several figures.
class OutputReader {
 public:
  // Figures: train_loss, val_loss (curves), tokens, steps, training_seconds (the last occurrence counts).
  // kUsage "SOURCE: read.FIGURE: ..." for an unknown figure (with the nearest), a wrong type or a bad expression.
  static Result<OutputReader> from_json(const nlohmann::ordered_json& declaration, const std::string& source);
  nlohmann::ordered_json to_json() const { return declaration_; }

  // All values of every figure in order of appearance. Lines above 4 KiB are skipped: the matcher's stack grows with them.
  std::map<std::string, std::vector<double>> read(std::string_view output) const;

 private:
  nlohmann::ordered_json declaration_;
};

}  // namespace evolora
