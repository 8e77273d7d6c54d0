// yaml-cpp's tree -> settings with line numbers.
#include "train/request_yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <set>

#include "formats/utf8.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// A training configuration is a page of text; anything far beyond is a mistake, or aliases that multiply.
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;
constexpr int kMaxNodes = 20000;
constexpr int kMaxDepth = 32;

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::string digits(text);
  digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
  bool negative = false;
  std::string_view rest = digits;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  int base = 10;
  if (rest.size() > 2 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'b')) {
    base = rest[1] == 'x' ? 16 : 2;
    rest.remove_prefix(2);
  } else if (rest.size() > 1 && rest[0] == '0') {
    base = 8;
  }
  std::int64_t value = 0;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
  if (rest.empty() || rest[0] == '-' || parsed.ec != std::errc() || parsed.ptr != rest.data() + rest.size()) return std::nullopt;
  return negative ? -value : value;
}

std::optional<double> parse_float(std::string_view text) {
  std::string digits(text);
  digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
  std::string_view rest = digits;
  const bool negative = !rest.empty() && rest[0] == '-';
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) rest.remove_prefix(1);
  if (is_one_of(rest, {".inf", ".Inf", ".INF"})) return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return std::numeric_limits<double>::quiet_NaN();
  const bool starts_as_number = !rest.empty() && (rest[0] == '.' || (rest[0] >= '0' && rest[0] <= '9'));
  if (!starts_as_number) return std::nullopt;
  double value = 0;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != rest.data() + rest.size()) return std::nullopt;
  return negative ? -value : value;
}

class YamlReader {
 public:
  explicit YamlReader(std::string source) : source_(std::move(source)) {}

  std::string place(const YAML::Node& node) const { return fmt::format("{}:{}: ", source_, node.Mark().line + 1); }

  Result<Json> convert(const YAML::Node& node, int depth) {
    if (++nodes_ > kMaxNodes || depth > kMaxDepth) {
      return Error{ErrorCode::kTooLarge, fmt::format("{}too many or too deeply nested values for a training configuration", place(node))};
    }
    if (node.IsScalar()) return scalar(node);
    if (node.IsSequence()) {
      Json out = Json::array();
      for (const YAML::Node& item : node) out.push_back(TRY(convert(item, depth + 1)));
      return out;
    }
    if (!node.IsMap()) return Json();
    Json out = Json::object();
    for (const auto& entry : node) {
      const std::string key = TRY(key_of(entry.first));
      if (out.contains(key)) return Error{ErrorCode::kUsage, fmt::format("{}key '{}' is given twice", place(entry.first), key)};
      out[key] = TRY(convert(entry.second, depth + 1));
    }
    return out;
  }

  Result<std::string> key_of(const YAML::Node& key) const {
    if (!key.IsScalar()) return Error{ErrorCode::kUsage, fmt::format("{}a key must be a plain word", place(key))};
    return key.Scalar();
  }

 private:
  Result<Json> scalar(const YAML::Node& node) const {
    const bool quoted = node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str";
    if (quoted) return Json(node.Scalar());
    return resolve_plain_scalar(node.Scalar());
  }

  std::string source_;
  int nodes_ = 0;
};

Result<std::vector<Setting>> settings_of(const YAML::Node& document, const std::string& source) {
  std::vector<Setting> settings;
  if (document.IsNull()) return settings;
  YamlReader reader(source);
  if (!document.IsMap()) return Error{ErrorCode::kUsage, fmt::format("{}expected 'key: value' lines", reader.place(document))};
  std::set<std::string> seen;
  for (const auto& entry : document) {
    Setting setting;
    setting.key = TRY(reader.key_of(entry.first));
    setting.label = setting.key;
    setting.place = reader.place(entry.first);
    if (!seen.insert(setting.key).second) return Error{ErrorCode::kUsage, fmt::format("{}key '{}' is given twice", setting.place, setting.key)};
    setting.value = TRY(reader.convert(entry.second, 0));
    if (entry.second.IsMap()) {
      for (const auto& nested : entry.second) setting.nested_places[TRY(reader.key_of(nested.first))] = reader.place(nested.first);
    }
    settings.push_back(std::move(setting));
  }
  return settings;
}

}  // namespace

Json resolve_plain_scalar(std::string_view text) {
  if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return {};
  if (is_one_of(text, {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) return true;
  if (is_one_of(text, {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) return false;
  if (const auto integer = parse_integer(text)) return *integer;
  if (const auto number = parse_float(text)) return *number;
  return std::string(text);
}

Result<std::vector<Setting>> read_request_yaml(FileSystem& files, const fs::path& path) {
  const std::string text = TRY(files.read(path));
  if (text.size() > kMaxFileBytes) {
    return Error{ErrorCode::kTooLarge,
                 fmt::format("{}: {} bytes; a training configuration has at most {}", path.string(), text.size(), kMaxFileBytes)};
  }
  if (!is_utf8(text)) return Error{ErrorCode::kUsage, fmt::format("{}: not UTF-8 text", path.string())};
  try {
    return settings_of(YAML::Load(text), path.string());
  } catch (const YAML::Exception& error) {
    return Error{ErrorCode::kUsage, fmt::format("{}:{}: not valid YAML: {}", path.string(), error.mark.line + 1, error.msg)};
  }
}

}  // namespace evolora
