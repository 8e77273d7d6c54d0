// The error catalogue: names and exit statuses.
#include "base/result.h"

namespace evolora {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage: return "usage";
    case ErrorCode::kNotFound: return "not_found";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kBadData: return "bad_data";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kTooLarge: return "too_large";
    case ErrorCode::kDependency: return "dependency";
    case ErrorCode::kInterrupted: return "interrupted";
    case ErrorCode::kInternal: return "internal";
  }
  return "internal";
}

int error_exit_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInterrupted: return 130;
    case ErrorCode::kInternal: return 1;
    default: return 2;
  }
}

}  // namespace evolora
