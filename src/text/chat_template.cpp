// Selection of a template and preparation of its variables, after transformers 5 (get_chat_template, apply_chat_template, render_jinja_template).
#include "text/chat_template.h"

#include <fmt/format.h>

#include <utility>

#include "base/json.h"
#include "text/tokenizer.h"

namespace evolora {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDefault = "default";
constexpr const char* kToolUse = "tool_use";

Error bad_data(std::string message) { return Error{ErrorCode::kBadData, std::move(message)}; }

// Keys without a value are dropped, and the reasoning of a message is offered under the two names that templates read.
Json prepared_message(const Json& message) {
  Json out = Json::object();
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) out[key] = value;
  }
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    if (!out.contains(name)) continue;
    const Json reasoning = out[name];
    Json aliased = {{"thinking", reasoning}};
    aliased.update(out);
    aliased["reasoning_content"] = reasoning;
    return aliased;
  }
  return out;
}

Result<Json> prepared_messages(const Json& messages) {
  if (!messages.is_array()) return bad_data(fmt::format("a conversation must be a list of messages, found {}", messages.type_name()));
  if (messages.empty()) return bad_data("the chat template cannot be applied to an empty conversation; give at least one message");
  Json out = Json::array();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object()) {
      return bad_data(
          fmt::format("message {} must be an object such as {{\"role\": ..., \"content\": ...}}, found {}", i + 1, messages[i].type_name()));
    }
    out.push_back(prepared_message(messages[i]));
  }
  return out;
}

Status check_tools(const Json& tools) {
  if (!tools.is_array()) return bad_data(fmt::format("\"tools\" must be a list of JSON schemas, found {}", tools.type_name()));
  for (const Json& tool : tools) {
    if (!tool.is_object()) return bad_data(fmt::format("each of \"tools\" must be a JSON schema (an object), found {}", tool.type_name()));
  }
  return {};
}

}  // namespace

void ChatTemplates::add(const std::string& name, const std::string& where, const std::string& source) {
  BridgeText error;
  TemplateHandle handle(evb_template_create(source.data(), source.size(), error.out()));
  templates_[name] = Compiled{where, std::move(handle), error.str()};
}

Result<ChatTemplates> ChatTemplates::load(FileSystem& files, const fs::path& folder, const Json& config) {
  ChatTemplates out;
  out.folder_ = folder;
  const fs::path main_file = folder / "chat_template.jinja";
  if (files.exists(main_file)) out.add(kDefault, main_file.string(), TRY(files.read(main_file)));
  const fs::path more = folder / "additional_chat_templates";
  if (files.is_directory(more)) {
    for (const std::string& name : TRY(files.list(more))) {
      if (!name.ends_with(".jinja")) continue;
      out.add(fs::path(name).stem().string(), (more / name).string(), TRY(files.read(more / name)));
    }
  }
  out.single_ = out.templates_.size() == 1 && out.templates_.contains(kDefault);
  if (!out.empty()) return out;

  const std::string where = (folder / "tokenizer_config.json").string();
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return out;
  if (found->is_string()) {
    out.add(kDefault, where, found->get<std::string>());
    out.single_ = true;
    return out;
  }
  if (!found->is_array()) {
    return bad_data(fmt::format("{}: \"chat_template\" must be a text or a list of {{name, template}}, found {}", where, found->type_name()));
  }
  for (const Json& item : *found) {
    const bool fits =
        item.is_object() && item.contains("name") && item["name"].is_string() && item.contains("template") && item["template"].is_string();
    if (!fits) return bad_data(fmt::format("{}: \"chat_template\": each item needs the texts \"name\" and \"template\"", where));
    out.add(item["name"].get<std::string>(), where, item["template"].get<std::string>());
  }
  return out;
}

Result<const ChatTemplates::Compiled*> ChatTemplates::choose(bool with_tools) const {
  if (templates_.empty()) {
    return bad_data(fmt::format(
        "{}: no chat template (chat_template.jinja, or \"chat_template\" in tokenizer_config.json); use a model that has one, or data with \"text\"",
        folder_.string()));
  }
  const auto with_name = [&](const char* name) -> const Compiled* {
    const auto found = templates_.find(name);
    return found == templates_.end() ? nullptr : &found->second;
  };
  if (!single_ && with_tools && with_name(kToolUse) != nullptr) return with_name(kToolUse);
  if (with_name(kDefault) != nullptr) return with_name(kDefault);
  return bad_data(fmt::format("{}: several chat templates but none is named \"default\"", folder_.string()));
}

Result<std::string> ChatTemplates::render(const Json& messages, const ChatOptions& options, const Json& named_tokens, bool enable_thinking) const {
  const bool with_tools = options.tools != nullptr && !options.tools->is_null();
  const Compiled* const chosen = TRY(choose(with_tools));
  if (chosen->handle == nullptr) return bad_data(fmt::format("{}: the chat template does not compile: {}", chosen->where, chosen->error));

  Json variables = named_tokens;
  variables["messages"] = TRY(prepared_messages(messages));
  variables["tools"] = nullptr;
  if (with_tools) {
    TRY(check_tools(*options.tools));
    variables["tools"] = *options.tools;
  }
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = options.add_generation_prompt;
  variables["enable_thinking"] = enable_thinking;

  const std::string input = TRY(json_to_text(variables));
  BridgeText rendered, error;
  if (!evb_template_render(chosen->handle.get(), input.data(), input.size(), rendered.out(), error.out())) {
    return bad_data(fmt::format("the chat template ({}) refused the conversation: {}", chosen->where, error.str()));
  }
  return rendered.str();
}

}  // namespace evolora
