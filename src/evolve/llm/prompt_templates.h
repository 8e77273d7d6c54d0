// The texts that prompts are made of: built in, or from a folder of the user's.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"

namespace evolora {

// Values of {{name}} in a template. Every name that a template may use is there, possibly empty.
using PromptValues = std::map<std::string, std::string>;

// "system", "diff", "rewrite", "crossover", "fix", "fix_block", "genome".
const std::vector<std::string>& prompt_template_names();
// The names that templates may use between {{ and }}.
const std::vector<std::string>& prompt_value_names();

class PromptTemplates {
 public:
  // The built-in ones.
  PromptTemplates();
  // With those that folder has as NAME.md instead. kUsage for another file there (it would do nothing) and for a {{name}} that does not exist, with
  // the nearest; kTooLarge above 64 KiB.
  static Result<PromptTemplates> with_folder(FileSystem& files, const fs::path& folder);

  // name: one of prompt_template_names(). Values are inserted once: what looks like {{name}} inside a value stays text. Runs of empty lines that
  // empty values leave become one.
  std::string fill(const std::string& name, const PromptValues& values) const;

  // Changes when any text does: part of what fixes a search.
  std::string digest() const;

 private:
  std::map<std::string, std::string> texts_;
};

}  // namespace evolora
