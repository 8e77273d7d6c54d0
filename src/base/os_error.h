// Operating system errors (errno) as Errors of the catalogue.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace evolora {

// "<path>: cannot <action>: <reason of the operating system>". ENOENT and ENOTDIR become kNotFound, everything else kIo.
Error os_error(const std::filesystem::path& path, std::string_view action, int error_number);

}  // namespace evolora
