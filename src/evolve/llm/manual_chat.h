// A person, or another program, as the language model: prompts are written to files, answers are read from files.
#pragma once

#include "base/file_system.h"
#include "evolve/llm/chat.h"
#include "evolve/llm/transport.h"

namespace evolora {

// Writes folder/NNNNNN.prompt.md and waits for folder/NNNNNN.answer.md; an answer that is there already is taken at once, so a queue that was
// interrupted goes on. An answer counts when two looks a second apart see the same text (editors write in pieces). A prompt file of another request
// with the same number is kBadData: the folder is of another search. References outlive the object.
class ManualChat : public ChatModel {
 public:
  ManualChat(FileSystem& files, fs::path folder, Waiter& waiter) : files_(files), folder_(std::move(folder)), waiter_(waiter) {}

  // kInterrupted when the user stops the wait; kTooLarge for an answer above kMaxReplyBytes.
  Result<ChatReply> chat(std::int64_t number, const ChatRequest& request) override;

 private:
  FileSystem& files_;
  fs::path folder_;
  Waiter& waiter_;
};

}  // namespace evolora
