// Result<T>: a value or an Error. Everything a user can type or a file can contain is reported through it; broken invariants abort (see check.h).
// Errors carry one code of the catalogue and one line: what, where, expected, got, what to do next.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace evolora {

// The whole catalogue. The process exit code is 2 for all of them except kInterrupted (130) and kInternal (1).
enum class ErrorCode {
  kUsage,        // a flag or key that does not exist, or a value of the wrong type or range
  kNotFound,     // a file or folder that should exist does not
  kIo,           // the operating system refused: permission, full disk, device error
  kCorrupt,      // a file's bytes contradict its own format (truncated, overlapping, bad header)
  kBadData,      // a well-formed file whose content does not fit: bad JSON at line N, missing key, wrong shape
  kUnsupported,  // valid, but not something this program does: named architecture, dtype, quantization mode
  kTooLarge,     // exceeds a stated limit (memory limit, header size, integer range)
  kDependency,   // an outside program or service that is needed failed or is missing
  kInterrupted,  // the user asked to stop
  kInternal,     // a bug: never expected, still reported instead of undefined behaviour
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // one line, without trailing newline, ready to print after "evolora: error: "
};

// Stable lower-case name of the code, for logs and tests ("usage", "not_found", ...).
std::string_view error_code_name(ErrorCode code);
// Process exit status for the code.
int error_exit_status(ErrorCode code);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor): returning a value reads as success
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor): returning an Error reads as failure

  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  const Error& error() const { return std::get<Error>(state_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), failed_(true) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  void value() const {}
  const Error& error() const { return error_; }

 private:
  Error error_;
  bool failed_ = false;
};

using Status = Result<void>;

// TRY(expr): the value of a successful Result, or return its Error from the enclosing function (which must return a Result).
// A GNU statement expression: g++ and clang, the two compilers of this project, both have it. At most the first member of a braced list may be one:
// what was built before is not destroyed when it returns.
#define TRY(expression)                                    \
  ({                                                       \
    auto evolora_try_result = (expression);                \
    if (!evolora_try_result.ok()) {                        \
      return ::evolora::Error{evolora_try_result.error()}; \
    }                                                      \
    std::move(evolora_try_result).value();                 \
  })

}  // namespace evolora
