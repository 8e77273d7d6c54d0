// For tests: copies of tests/data/tiny_tokenizer (made by tests/oracle/make_tiny_tokenizer.py) that a test may change.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/test_folder.h"
#include "text/tokenizer.h"

namespace evolora {

inline fs::path tiny_tokenizer_folder() { return fs::path(EVOLORA_SOURCE_DIR) / "tests" / "data" / "tiny_tokenizer"; }

// A folder with the tiny tokenizer's files.
class TinyModel {
 public:
  TinyModel() {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"}) {
      const Result<std::string> content = real_file_system().read(tiny_tokenizer_folder() / name);
      CHECK(content.ok());
      write(name, *content);
    }
  }
  void write(const fs::path& name, std::string_view content) { write_test_file(folder_ / name, content); }
  void remove(const fs::path& name) { ASSERT_TRUE(real_file_system().remove(folder_ / name).ok()); }
  const fs::path& path() const { return folder_.path(); }
  Result<Tokenizer> load() const { return Tokenizer::load(real_file_system(), path()); }

 private:
  TestFolder folder_;
};

}  // namespace evolora
