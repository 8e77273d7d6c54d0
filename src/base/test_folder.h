// For tests: a fresh folder that is removed with everything in it at the end of the scope.
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
  ~TestFolder() { (void)real_file_system().remove(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const fs::path& path() const { return path_; }
  fs::path operator/(const fs::path& name) const { return path_ / name; }

 private:
  fs::path path_;
};

}  // namespace evolora
