// For tests: a fresh folder that is removed with everything in it at the end of the scope, and files in it.
#pragma once

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "base/file_system.h"

namespace evolora {

class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (fs::temp_directory_path() / "evolora-test-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TestFolder() { (void)files_.remove(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const fs::path& path() const { return path_; }
  fs::path operator/(const fs::path& name) const { return path_ / name; }

 private:
  FileSystem& files_ = real_file_system();  // there before a static folder, and so still there when that one goes
  fs::path path_;
};

// Writes a test's input. Without fsync, which would make up most of the time of tests with thousands of small files; and not over an old file,
// because ext4 flushes truncated files when they are closed.
inline void write_test_file(const fs::path& path, std::string_view content) {
  CHECK(real_file_system().remove(path).ok());
  auto file = real_file_system().create(path);
  CHECK(file.ok() && (*file)->write(std::as_bytes(std::span(content))).ok() && (*file)->close().ok());
}

}  // namespace evolora
