// JSON text -> value, with errors that fit in one line, and a bound on nesting so that no later step can overflow the stack.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/file_system.h"

namespace evolora {

// Deeper is refused: copying and printing a value recurse once per level.
inline constexpr std::size_t kMaxJsonDepth = 100;

// kBadData: what is wrong and at which column or line, without the file's name (the caller puts it in front). Bytes that are not UTF-8 are an error.
Result<nlohmann::ordered_json> parse_json(std::string_view text);
// value as JSON text. kBadData if one of its strings is not UTF-8.
Result<std::string> json_to_text(const nlohmann::ordered_json& value);

// A whole file that must hold one object. kNotFound, kBadData with the path.
Result<nlohmann::ordered_json> read_json_object(FileSystem& files, const fs::path& path);
// The same, but no key may stand twice in an object: for files that people write, where the loser of two entries would be ignored in silence.
Result<nlohmann::ordered_json> read_settings_object(FileSystem& files, const fs::path& path);
// As read_json_object, but a file that does not exist is an empty object.
Result<nlohmann::ordered_json> read_json_object_if_there(FileSystem& files, const fs::path& path);

}  // namespace evolora
