// Keys from the environment or a private file; opened and checked through one descriptor, so that the file checked is the file read.
#include "evolve/llm/secret.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/os_error.h"

namespace evolora {
namespace {

std::atomic<int> living_secrets{0};

// 0 -> 1 and 1 -> 0 switch the flag; a program that was not dumpable before is dumpable afterwards, which is the system's default.
void count_secret(int change) {
  const int before = living_secrets.fetch_add(change);
  if (before == 0 && change > 0) prctl(PR_SET_DUMPABLE, 0);
  if (before == 1 && change < 0) prctl(PR_SET_DUMPABLE, 1);
}

// Keys are long, but not a page.
constexpr std::size_t kMaxSecretBytes = 4096;

Result<Secret> checked(std::string& text, const std::string& place) {
  const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  std::size_t end = text.size(), start = 0;
  while (end > 0 && is_space(text[end - 1])) --end;
  while (start < end && is_space(text[start])) ++start;
  std::string key = text.substr(start, end - start);
  explicit_bzero(text.data(), text.size());
  text.clear();
  Secret secret(key);
  if (secret.empty()) return Error{ErrorCode::kUsage, fmt::format("{}: expected an API key, got nothing", place)};
  const std::string_view shown = secret.reveal();
  if (std::any_of(shown.begin(), shown.end(), [](char c) { return c <= 0x20 || c > 0x7E; })) {
    return Error{ErrorCode::kUsage, fmt::format("{}: expected an API key of one line of printable ASCII without spaces", place)};
  }
  return secret;
}

struct Descriptor {
  int fd = -1;
  explicit Descriptor(int opened) : fd(opened) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

Status check_private(const struct stat& about, const fs::path& path) {
  if (!S_ISREG(about.st_mode)) return Error{ErrorCode::kUsage, fmt::format("{}: expected a regular file with an API key", path.string())};
  if (about.st_uid != geteuid()) {
    return Error{ErrorCode::kUsage, fmt::format("{}: the key file belongs to user {}, expected {}", path.string(), about.st_uid, geteuid())};
  }
  if ((about.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Error{ErrorCode::kUsage, fmt::format("{}: others may use this key file (mode {:04o}, expected 0600): chmod 600 it, and consider the key "
                                                "known to others",
                                                path.string(), about.st_mode & 07777U)};
  }
  return {};
}

}  // namespace

Secret::Secret(std::string& text) {
  if (!text.empty()) {
    size_ = text.size();
    bytes_ = std::make_unique<char[]>(size_);
    std::memcpy(bytes_.get(), text.data(), size_);
    explicit_bzero(text.data(), text.size());
    count_secret(1);
  }
  text.clear();
}

Secret::Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    clear();
    bytes_ = std::move(other.bytes_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Secret::~Secret() { clear(); }

void Secret::clear() {
  if (size_ == 0) return;
  explicit_bzero(bytes_.get(), size_);
  bytes_.reset();
  size_ = 0;
  count_secret(-1);
}

Result<Secret> take_secret_from_environment(const std::string& name) {
  char* value = std::getenv(name.c_str());
  if (value == nullptr) {
    return Error{ErrorCode::kUsage, fmt::format("environment variable {} is not set: put the API key there, or name a file in api_key_file", name)};
  }
  std::string text = value;
  // The bytes themselves, because /proc/self/environ shows them whether or not the variable is still listed.
  explicit_bzero(value, text.size());
  unsetenv(name.c_str());
  return checked(text, fmt::format("environment variable {}", name));
}

Result<Secret> read_secret_file(const fs::path& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd < 0) {
    return os_error(path, "read the key file", errno);
  }
  struct stat about {};
  if (fstat(file.fd, &about) != 0) return os_error(path, "read the key file", errno);
  TRY(check_private(about, path));
  std::array<char, kMaxSecretBytes> buffer{};
  const ssize_t got = read(file.fd, buffer.data(), buffer.size());
  if (got < 0) return os_error(path, "read the key file", errno);
  std::string text(buffer.data(), static_cast<std::size_t>(got));
  explicit_bzero(buffer.data(), buffer.size());
  return checked(text, path.string());
}

}  // namespace evolora
