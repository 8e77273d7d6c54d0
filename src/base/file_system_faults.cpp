// Fault injection by counting: each operation asks pass() whether its turn has come.
#include "base/file_system_faults.h"

#include "base/os_error.h"

namespace evolora {

class FaultyWritableFile final : public WritableFile {
 public:
  FaultyWritableFile(FaultyFileSystem& files, std::unique_ptr<WritableFile> inner, fs::path path)
      : files_(files), inner_(std::move(inner)), path_(std::move(path)) {}

  Status write(std::span<const std::byte> bytes) override {
    const int error_number = files_.pass(FileOperation::kWrite);
    if (error_number == 0) return inner_->write(bytes);
    TRY(inner_->write(bytes.first(bytes.size() / 2)));
    return os_error(path_, "write", error_number);
  }

  Status sync() override {
    const int error_number = files_.pass(FileOperation::kSync);
    if (error_number != 0) return os_error(path_, "flush to the device", error_number);
    return inner_->sync();
  }

  Status close() override { return inner_->close(); }

 private:
  FaultyFileSystem& files_;
  std::unique_ptr<WritableFile> inner_;
  fs::path path_;
};

void FaultyFileSystem::fail(FileOperation operation, std::size_t nth, int error_number) { faults_.push_back({operation, nth, error_number}); }

void FaultyFileSystem::fail_any(std::size_t nth, int error_number) { faults_.push_back({std::nullopt, nth, error_number}); }

int FaultyFileSystem::pass(FileOperation operation) {
  const std::size_t of_kind = counts_[static_cast<std::size_t>(operation)]++;
  const std::size_t of_all = total_++;
  for (const Fault& fault : faults_) {
    const bool due = fault.operation ? *fault.operation == operation && fault.nth == of_kind : fault.nth == of_all;
    if (due) return fault.error_number;
  }
  return 0;
}

Result<std::unique_ptr<WritableFile>> FaultyFileSystem::create(const fs::path& path) {
  const int error_number = pass(FileOperation::kCreate);
  if (error_number != 0) return os_error(path, "create", error_number);
  return std::unique_ptr<WritableFile>(std::make_unique<FaultyWritableFile>(*this, TRY(inner_.create(path)), path));
}

Result<std::unique_ptr<WritableFile>> FaultyFileSystem::append(const fs::path& path) {
  const int error_number = pass(FileOperation::kCreate);
  if (error_number != 0) return os_error(path, "open for appending", error_number);
  return std::unique_ptr<WritableFile>(std::make_unique<FaultyWritableFile>(*this, TRY(inner_.append(path)), path));
}

Status FaultyFileSystem::rename(const fs::path& from, const fs::path& to) {
  const int error_number = pass(FileOperation::kRename);
  if (error_number != 0) return os_error(from, "rename to " + to.string(), error_number);
  return inner_.rename(from, to);
}

Status FaultyFileSystem::sync_directory(const fs::path& path) {
  const int error_number = pass(FileOperation::kSyncDirectory);
  if (error_number != 0) return os_error(path, "flush folder to the device", error_number);
  return inner_.sync_directory(path);
}

}  // namespace evolora
