// Python's layout of JSON, which differs from nlohmann's in floats, escapes and empty containers.
#include "formats/json_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

void append_string(std::string& out, const std::string& text) { out += Json(text).dump(-1, ' ', true, Json::error_handler_t::replace); }

void append_value(std::string& out, const Json& value, std::size_t depth) {
  const auto new_line = [&](std::size_t level) { out.append(1, '\n').append(4 * level, ' '); };
  if (value.is_object() && !value.empty()) {
    out += '{';
    for (auto it = value.begin(); it != value.end(); ++it) {
      if (it != value.begin()) out += ',';
      new_line(depth + 1);
      append_string(out, it.key());
      out += ": ";
      append_value(out, it.value(), depth + 1);
    }
    new_line(depth);
    out += '}';
  } else if (value.is_array() && !value.empty()) {
    out += '[';
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (i != 0) out += ',';
      new_line(depth + 1);
      append_value(out, value[i], depth + 1);
    }
    new_line(depth);
    out += ']';
  } else if (value.is_number_float()) {
    out += python_float(value.get<double>());
  } else if (value.is_string()) {
    append_string(out, value.get_ref<const std::string&>());
  } else {
    out += value.dump();  // null, booleans, integers, {} and []
  }
}

}  // namespace

std::string python_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  // "d.ddde[+-]xx": the shortest digits; only their layout is Python's own.
  std::array<char, 32> buffer{};
  const char* end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific).ptr;
  std::string digits;
  std::string sign;
  int exponent = 0;
  for (const char* p = buffer.data(); p != end; ++p) {
    if (*p == '-') sign = "-";
    if (*p >= '0' && *p <= '9') digits += *p;
    if (*p == 'e') {
      const char* number = p[1] == '+' ? p + 2 : p + 1;
      std::from_chars(number, end, exponent);
      break;
    }
  }
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    const std::string power = std::to_string(std::abs(exponent));
    const std::string fraction = count > 1 ? "." + digits.substr(1) : "";
    return sign + digits[0] + fraction + (exponent < 0 ? "e-" : "e+") + (power.size() < 2 ? "0" : "") + power;
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) return sign + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  return sign + digits.substr(0, static_cast<std::size_t>(exponent) + 1) + "." + digits.substr(static_cast<std::size_t>(exponent) + 1);
}

std::string python_json(const Json& value) {
  std::string out;
  append_value(out, value, 0);
  return out;
}

Json with_sorted_keys(const Json& object) {
  std::map<std::string, const Json*> sorted;  // bytes of UTF-8 compare as code points do
  for (auto it = object.begin(); it != object.end(); ++it) sorted.emplace(it.key(), &it.value());
  Json out = Json::object();
  for (const auto& [key, value] : sorted) out[key] = *value;
  return out;
}

std::string json_excerpt(const Json& value) {
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

}  // namespace evolora
