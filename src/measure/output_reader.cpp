// Line by line: JSON if it looks like an object, then the expressions.
#include "measure/output_reader.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <regex>

#include "base/json.h"
#include "base/suggest.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string>& figures() {
  static const std::vector<std::string> names = {"train_loss", "val_loss", "tokens", "steps", "training_seconds"};
  return names;
}

Error unfit_figure(const std::string& source, const std::string& figure, const std::string& what) {
  return Error{ErrorCode::kUsage, fmt::format("{}: read.{}: {}", source, figure, what)};
}

Result<std::regex> compile(const std::string& expression) {
  try {
    std::regex compiled(expression);
    if (compiled.mark_count() != 1) return Error{ErrorCode::kUsage, fmt::format("expected one group, got {}", compiled.mark_count())};
    return compiled;
  } catch (const std::regex_error& error) {
    return Error{ErrorCode::kUsage, error.what()};
  }
}

// Programs colour their output for people; ECMA-48 control sequences (ESC [ parameters letter) are no text.
std::string without_colours(const std::string& line) {
  std::string out;
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] != '\x1b' || at + 1 == line.size() || line[at + 1] != '[') {
      out += line[at];
      continue;
    }
    at = line.find_first_not_of("0123456789;:?", at + 2);
    if (at == std::string::npos) break;
  }
  return out;
}

std::optional<double> number_in(std::string text) {
  std::erase(text, ',');
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

Result<OutputReader> OutputReader::from_json(const Json& declaration, const std::string& source) {
  if (!declaration.is_object()) return Error{ErrorCode::kUsage, fmt::format("{}: read: expected an object of figures", source)};
  for (const auto& [figure, how] : declaration.items()) {
    if (std::find(figures().begin(), figures().end(), figure) == figures().end())
      return unfit_figure(source, figure, "there is no such figure" + did_you_mean(figure, figures()));
    if (how.is_string()) {
      const auto pointer = how.get<std::string>();
      if (pointer.empty() || pointer[0] != '/')
        return unfit_figure(source, figure, fmt::format("expected a JSON pointer such as \"/loss\", got \"{}\"", pointer));
      try {
        (void)Json::json_pointer(pointer);
      } catch (const Json::exception& error) {
        return unfit_figure(source, figure, error.what());
      }
      continue;
    }
    const bool scaled = how.is_object() && how.contains("scale");
    if (!how.is_object() || how.size() != (scaled ? 2 : 1) || !how.contains("regex") || !how["regex"].is_string()) {
      return unfit_figure(source, figure, "expected a JSON pointer or {\"regex\": \"...(group)...\"}, which may have a \"scale\"");
    }
    if (scaled && (!how["scale"].is_number() || how["scale"].get<double>() <= 0))
      return unfit_figure(source, figure, fmt::format("scale: expected a number above 0, got {}", how["scale"].dump()));
    const auto compiled = compile(how["regex"].get<std::string>());
    if (!compiled.ok()) return unfit_figure(source, figure, compiled.error().message);
  }
  OutputReader reader;
  reader.declaration_ = declaration;
  return reader;
}

std::map<std::string, std::vector<double>> OutputReader::read(std::string_view output) const {
  constexpr std::size_t kLongestLine = 1 << 12;  // libstdc++ recurses per character: about 2 MB of stack
  std::map<std::string, std::vector<double>> found;
  std::vector<std::pair<std::string, Json::json_pointer>> pointers;
  std::vector<std::pair<std::string, std::regex>> expressions;
  for (const auto& [figure, how] : declaration_.items()) {
    if (how.is_string()) {
      pointers.emplace_back(figure, Json::json_pointer(how.get<std::string>()));
    } else {
      expressions.emplace_back(figure, compile(how["regex"].get<std::string>()).value());
    }
  }
  while (!output.empty()) {
    const std::size_t end = output.find_first_of("\n\r");
    const std::string line(output.substr(0, end));
    output.remove_prefix(end == std::string_view::npos ? output.size() : end + 1);
    if (line.size() > kLongestLine) continue;
    if (!pointers.empty() && line.starts_with("{")) {
      if (const auto json = parse_json(line); json.ok()) {
        for (const auto& [figure, pointer] : pointers) {
          if (!json->contains(pointer)) continue;
          const Json& value = (*json)[pointer];
          if (value.is_number() && std::isfinite(value.get<double>())) found[figure].push_back(value.get<double>());
        }
      }
    }
    const std::string text = without_colours(line);
    for (const auto& [figure, expression] : expressions) {
      std::smatch match;
      if (!std::regex_search(text, match, expression)) continue;
      if (const auto value = number_in(match[1].str())) found[figure].push_back(*value * declaration_[figure].value("scale", 1.0));
    }
  }
  return found;
}

}  // namespace evolora
