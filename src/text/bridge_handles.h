// Owning C++ wrappers of what the text bridge hands out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/bridge.h"

namespace evolora {

struct BridgeFree {
  void operator()(EvbTokenizer* tokenizer) const { evb_tokenizer_free(tokenizer); }
  void operator()(EvbTemplate* chat_template) const { evb_template_free(chat_template); }
};
using TokenizerHandle = std::unique_ptr<EvbTokenizer, BridgeFree>;
using TemplateHandle = std::unique_ptr<EvbTemplate, BridgeFree>;

// Text filled by the bridge; freed with the scope.
class BridgeText {
 public:
  BridgeText() = default;
  ~BridgeText() { evb_text_free(text_); }
  BridgeText(const BridgeText&) = delete;
  BridgeText& operator=(const BridgeText&) = delete;

  EvbText* out() { return &text_; }
  std::string str() const { return text_.size == 0 ? std::string() : std::string(text_.data, text_.size); }

 private:
  EvbText text_{nullptr, 0};
};

// Ids filled by the bridge; freed with the scope.
class BridgeIds {
 public:
  BridgeIds() = default;
  ~BridgeIds() { evb_ids_free(ids_); }
  BridgeIds(const BridgeIds&) = delete;
  BridgeIds& operator=(const BridgeIds&) = delete;

  EvbIds* out() { return &ids_; }
  std::vector<std::int32_t> ids() const {
    return ids_.size == 0 ? std::vector<std::int32_t>() : std::vector<std::int32_t>(ids_.data, ids_.data + ids_.size);
  }

 private:
  EvbIds ids_{nullptr, 0};
};

}  // namespace evolora
