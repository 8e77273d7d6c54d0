// Reading, checking and filling templates.
#include "evolve/llm/prompt_templates.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/sha256.h"
#include "base/suggest.h"
#include "evolve/llm/embedded_prompts.h"
#include "formats/utf8.h"

namespace evolora {
namespace {

constexpr std::size_t kMaxTemplateBytes = std::size_t{64} << 10;

bool is_known(const std::vector<std::string>& names, std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); }

// Calls on_text and on_name for the pieces of a template in order.
template <typename OnText, typename OnName>
void walk(std::string_view text, OnText on_text, OnName on_name) {
  while (!text.empty()) {
    const std::size_t open = text.find("{{");
    const std::size_t close = open == std::string_view::npos ? open : text.find("}}", open);
    if (close == std::string_view::npos) {
      on_text(text);
      return;
    }
    on_text(text.substr(0, open));
    on_name(text.substr(open + 2, close - open - 2));
    text.remove_prefix(close + 2);
  }
}

Status check_names(const fs::path& path, std::string_view text) {
  Status status;
  walk(
      text, [](std::string_view) {},
      [&](std::string_view name) {
        if (!status.ok() || is_known(prompt_value_names(), name)) return;
        status = Error{ErrorCode::kUsage, fmt::format("{}: unknown name '{{{{{}}}}}'{} (known: {})", path.string(), name,
                                                      did_you_mean(name, prompt_value_names()), fmt::join(prompt_value_names(), ", "))};
      });
  return status;
}

}  // namespace

const std::vector<std::string>& prompt_template_names() {
  static const std::vector<std::string> names = {"system", "diff", "rewrite", "crossover", "fix", "fix_block", "genome"};
  return names;
}

const std::vector<std::string>& prompt_value_names() {
  static const std::vector<std::string> names = {"objective",      "instructions",  "fence",     "frame",        "program",
                                                 "block",          "scores",        "failure",   "top_programs", "diverse_programs",
                                                 "second_program", "second_scores", "parameters"};
  return names;
}

PromptTemplates::PromptTemplates() {
  for (const std::string& name : prompt_template_names()) texts_[name] = embedded_prompt(name);
}

Result<PromptTemplates> PromptTemplates::with_folder(FileSystem& files, const fs::path& folder) {
  PromptTemplates templates;
  std::vector<std::string> names;
  for (const std::string& name : prompt_template_names()) names.push_back(name + ".md");
  for (const std::string& name : TRY(files.list(folder))) {
    const fs::path path = folder / name;
    if (!is_known(names, name)) {
      return Error{ErrorCode::kUsage, fmt::format("{}: no prompt is made of this file{}; expected {}", path.string(), did_you_mean(name, names),
                                                  fmt::join(names, ", "))};
    }
    const std::string text = TRY(files.read(path));
    if (text.size() > kMaxTemplateBytes) {
      return Error{ErrorCode::kTooLarge, fmt::format("{}: {} bytes; a template has at most {}", path.string(), text.size(), kMaxTemplateBytes)};
    }
    if (!is_utf8(text)) return Error{ErrorCode::kUsage, fmt::format("{}: not UTF-8 text", path.string())};
    TRY(check_names(path, text));
    templates.texts_[path.stem().string()] = text;
  }
  return templates;
}

std::string PromptTemplates::fill(const std::string& name, const PromptValues& values) const {
  std::string out;
  walk(
      texts_.at(name),
      [&](std::string_view text) {
        for (const char c : text) {
          // Of the template's own newlines no more than two in a row.
          if (c == '\n' && out.ends_with("\n\n")) continue;
          out += c;
        }
      },
      [&](std::string_view key) {
        const auto value = values.find(std::string(key));
        CHECK(value != values.end());
        out += value->second;
      });
  return out;
}

std::string PromptTemplates::digest() const {
  std::string all;
  for (const auto& [name, text] : texts_) all += fmt::format("{} {}\n{}", name, text.size(), text);
  return sha256_hex(all);
}

}  // namespace evolora
