// The chat templates of a model folder: which one applies, what it is given, and its rendering. Same results as transformers' apply_chat_template.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file_system.h"
#include "text/bridge_handles.h"
#include "text/special_tokens.h"

namespace evolora {

struct ChatOptions;

// Thread-safe after load (const methods).
class ChatTemplates {
 public:
  // chat_template.jinja and additional_chat_templates/*.jinja, or, if there are none, "chat_template" of config (tokenizer_config.json).
  // A template that does not compile is reported when it is used: text data does not need it.
  static Result<ChatTemplates> load(FileSystem& files, const fs::path& folder, const nlohmann::ordered_json& config);

  bool empty() const { return templates_.empty(); }
  // messages: array of objects. named_tokens: SpecialTokens::named. kBadData: an empty or malformed conversation, or the template's own complaint.
  Result<std::string> render(const nlohmann::ordered_json& messages, const ChatOptions& options, const nlohmann::ordered_json& named_tokens,
                             bool enable_thinking) const;

 private:
  struct Compiled {
    std::string where;  // file, for errors
    TemplateHandle handle;
    std::string error;  // why handle is null
  };
  void add(const std::string& name, const std::string& where, const std::string& source);
  Result<const Compiled*> choose(bool with_tools) const;

  fs::path folder_;
  bool single_ = false;  // one template without a name: used whatever the options
  std::map<std::string, Compiled> templates_;
};

}  // namespace evolora
