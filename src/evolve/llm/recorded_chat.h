// Every exchange of a search on disk, without key or address: the proof of what was asked and said, the answers of a search that goes on after a
// crash, and the model of a search that is replayed offline.
#pragma once

#include "base/file_system.h"
#include "evolve/llm/chat.h"

namespace evolora {

// Answers from folder/NNNNNN.json where that exists, and otherwise asks `inner` and writes the file before anybody sees the answer. A recorded
// exchange costs nothing. kBadData if the request is not the one on record (digest of its body): prompts, settings or the search are not those of the
// record.
class RecordedChat : public ChatModel {
 public:
  // inner outlives the object.
  RecordedChat(FileSystem& files, fs::path folder, ChatModel& inner) : files_(files), folder_(std::move(folder)), inner_(&inner) {}
  // A replay: an exchange that is not on record is kBadData, too.
  RecordedChat(FileSystem& files, fs::path folder) : files_(files), folder_(std::move(folder)) {}

  Result<ChatReply> chat(std::int64_t number, const ChatRequest& request) override;

 private:
  Result<ChatReply> from_record(const fs::path& path, std::int64_t number, const std::string& digest) const;

  FileSystem& files_;
  fs::path folder_;
  ChatModel* inner_ = nullptr;
};

}  // namespace evolora
