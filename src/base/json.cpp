// Parsing through nlohmann-json; this file turns its exceptions into errors.
#include "base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace evolora {

namespace {

// The deepest nesting of arrays and objects, judged by brackets outside of strings.
std::size_t nesting(std::string_view text) {
  std::size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

// "[json.exception.parse_error.101] parse error at line 1, column 9: syntax error ..." -> "column 9: syntax error ...", in one printable line.
std::string plain_words(std::string message) {
  for (const std::string_view start : {"parse error at ", "line 1, "}) {
    const std::size_t at = message.find(start);
    if (at != std::string::npos && (start[0] == 'p' || at == 0)) message.erase(0, at + start.size());
  }
  if (!message.empty() && message[0] == '[') message.erase(0, message.find(' ') + 1);
  std::replace_if(
      message.begin(), message.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7E; }, '?');
  constexpr std::size_t kLongest = 200;
  if (message.size() > kLongest) message = message.substr(0, kLongest / 2) + " ... " + message.substr(message.size() - kLongest / 2);
  return message;
}

// text is valid JSON. The first key that an object has twice.
std::optional<std::string> repeated_key(std::string_view text) {
  std::vector<std::set<std::string>> open_objects;
  std::optional<std::string> repeated;
  const auto look = [&](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start) open_objects.emplace_back();
    if (event == Event::object_end) open_objects.pop_back();
    if (event == Event::key && !open_objects.back().insert(value.get<std::string>()).second && !repeated) repeated = value.get<std::string>();
    return true;
  };
  [[maybe_unused]] const nlohmann::json parsed = nlohmann::json::parse(text, look);
  return repeated;
}

}  // namespace

Result<nlohmann::ordered_json> parse_json(std::string_view text) {
  if (const std::size_t depth = nesting(text); depth > kMaxJsonDepth) {
    return Error{ErrorCode::kBadData, fmt::format("nested deeper than {} levels", kMaxJsonDepth)};
  }
  try {
    return nlohmann::ordered_json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    return Error{ErrorCode::kBadData, "not valid JSON: " + plain_words(error.what())};
  }
}

Result<std::string> json_to_text(const nlohmann::ordered_json& value) {
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    return Error{ErrorCode::kBadData, plain_words(error.what())};
  }
}

namespace {

Result<nlohmann::ordered_json> object_in(const std::string& text, const fs::path& path) {
  Result<nlohmann::ordered_json> parsed = parse_json(text);
  if (!parsed.ok()) return Error{ErrorCode::kBadData, fmt::format("{}: {}", path.string(), parsed.error().message)};
  if (!parsed->is_object()) {
    return Error{ErrorCode::kBadData, fmt::format("{}: expected a JSON object, got {}", path.string(), parsed->type_name())};
  }
  return parsed;
}

}  // namespace

Result<nlohmann::ordered_json> read_json_object(FileSystem& files, const fs::path& path) { return object_in(TRY(files.read(path)), path); }

Result<nlohmann::ordered_json> read_settings_object(FileSystem& files, const fs::path& path) {
  const std::string text = TRY(files.read(path));
  nlohmann::ordered_json object = TRY(object_in(text, path));
  const std::optional<std::string> repeated = repeated_key(text);
  if (!repeated) return object;
  return Error{ErrorCode::kBadData, fmt::format("{}: key '{}' stands twice in one object; leave one of the two", path.string(), *repeated)};
}

Result<nlohmann::ordered_json> read_json_object_if_there(FileSystem& files, const fs::path& path) {
  if (!files.exists(path)) return nlohmann::ordered_json::object();
  return read_json_object(files, path);
}

}  // namespace evolora
