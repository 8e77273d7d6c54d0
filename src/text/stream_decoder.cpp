// Streaming decode: only the last finished piece is decoded again with each new id, so that decoders which look at neighbours
// (a leading space that is dropped, bytes of one character in several tokens) give the same text as decoding everything at once.
#include "text/tokenizer.h"

namespace evolora {

namespace {
constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // what an unfinished character decodes to
}

Result<std::string> StreamDecoder::push(std::int32_t id) {
  ids_.push_back(id);
  const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(prefix_offset_);
  const auto read = ids_.begin() + static_cast<std::ptrdiff_t>(read_offset_);
  const std::string before = TRY(tokenizer_.decode({begin, read}, false));
  const std::string after = TRY(tokenizer_.decode({begin, ids_.end()}, false));
  if (after.size() <= before.size() || after.ends_with(kReplacementCharacter)) return std::string();
  prefix_offset_ = read_offset_;
  read_offset_ = ids_.size();
  return after.substr(before.size());
}

Result<std::string> StreamDecoder::finish() {
  const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(prefix_offset_);
  const auto read = ids_.begin() + static_cast<std::ptrdiff_t>(read_offset_);
  const std::string before = TRY(tokenizer_.decode({begin, read}, false));
  const std::string after = TRY(tokenizer_.decode({begin, ids_.end()}, false));
  prefix_offset_ = read_offset_ = ids_.size();
  return after.size() > before.size() ? after.substr(before.size()) : std::string();
}

}  // namespace evolora
