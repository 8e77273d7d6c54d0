// JSON text as Python writes it: the bytes that Python's json.dump(indent=4) would write.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace evolora {

// Python's repr of a float: shortest digits that give the value back, "20.0", "1e-05", "1e+16", "NaN", "Infinity".
std::string python_float(double value);

// json.dumps(value, indent=4): non-ASCII as \uXXXX, no newline at the end. Bytes that are not UTF-8 become \ufffd.
std::string python_json(const nlohmann::ordered_json& value);

// The same object with its keys sorted (top level only), as json.dump(dict(sorted(d.items())), ...) has them.
nlohmann::ordered_json with_sorted_keys(const nlohmann::ordered_json& object);

// A value as it may stand inside a one-line message: at most 80 characters of JSON.
std::string json_excerpt(const nlohmann::ordered_json& value);

}  // namespace evolora
