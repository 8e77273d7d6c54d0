// One place that words what the operating system refused.
#include "base/os_error.h"

#include <cerrno>
#include <string>
#include <system_error>

namespace evolora {

Error os_error(const std::filesystem::path& path, std::string_view action, int error_number) {
  const bool missing = error_number == ENOENT || error_number == ENOTDIR;
  // generic_category is thread-safe where strerror is not.
  const std::string reason = std::generic_category().message(error_number);
  return Error{missing ? ErrorCode::kNotFound : ErrorCode::kIo, path.string() + ": cannot " + std::string(action) + ": " + reason};
}

}  // namespace evolora
