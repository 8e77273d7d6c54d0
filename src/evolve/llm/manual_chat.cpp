// Polls for answer files.
#include "evolve/llm/manual_chat.h"

#include <fmt/format.h>

#include "formats/utf8.h"

namespace evolora {

Result<ChatReply> ManualChat::chat(std::int64_t number, const ChatRequest& request) {
  const fs::path prompt_path = folder_ / fmt::format("{:06}.prompt.md", number);
  const fs::path answer_path = folder_ / fmt::format("{:06}.answer.md", number);
  std::string prompt = fmt::format("<!-- Write the answer to {} -->\n", answer_path.filename().string());
  for (const ChatMessage& message : request.messages) prompt += fmt::format("\n<!-- {} -->\n{}\n", message.role, message.content);
  if (!files_.exists(prompt_path)) {
    TRY(files_.create_directories(folder_));
    TRY(write_file_atomically(files_, prompt_path, prompt));
  } else if (TRY(files_.read(prompt_path)) != prompt) {
    return Error{ErrorCode::kBadData, fmt::format("{}: holds another prompt than this search writes; use an empty folder, or the one of this search",
                                                  prompt_path.string())};
  }
  constexpr double kLookEverySeconds = 1;
  std::string seen;
  for (;;) {
    if (files_.exists(answer_path)) {
      std::string text = TRY(files_.read(answer_path));
      if (text.size() > kMaxReplyBytes) {
        return Error{ErrorCode::kTooLarge, fmt::format("{}: {} bytes; an answer has at most {}", answer_path.string(), text.size(), kMaxReplyBytes)};
      }
      if (!is_utf8(text)) return Error{ErrorCode::kBadData, fmt::format("{}: not UTF-8 text", answer_path.string())};
      if (!text.empty() && text == seen) return ChatReply{.text = std::move(text), .finish_reason = "stop"};
      seen = std::move(text);
    }
    TRY(waiter_.wait(kLookEverySeconds));
  }
}

}  // namespace evolora
