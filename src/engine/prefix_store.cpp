// One row block per sample, appended; a sample that comes again with more tokens (compat batches are cut differently) is stored anew.
#include "engine/prefix_store.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/lora_linear/few_rows.h"

namespace evolora {
namespace {

// With those that are shared.
std::int64_t segment_tokens(const Batch& batch, std::size_t s) {
  const auto segment = static_cast<std::int64_t>(s);
  return batch.tokens_before(segment) + batch.own_tokens(segment);
}

}  // namespace

PrefixStore PrefixStore::in_memory(std::int64_t hidden_size) { return PrefixStore(hidden_size); }

Result<PrefixStore> PrefixStore::in_file(const fs::path& folder, std::int64_t hidden_size) {
  PrefixStore store(hidden_size);
  store.file_.emplace(TRY(ScratchFile::create(folder)));
  return store;
}

bool PrefixStore::can_hold(const Batch& batch) {
  return batch.token_count() > gemm::kFewRows && static_cast<std::int64_t>(batch.segment_samples.size()) == batch.segment_count() &&
         std::all_of(batch.segment_samples.begin(), batch.segment_samples.end(), [](std::int64_t sample) { return sample >= 0; });
}

bool PrefixStore::accepts(const Batch& batch) const { return status_.ok() && can_hold(batch); }

bool PrefixStore::covers(const Batch& batch) const {
  if (!accepts(batch)) return false;
  for (std::size_t s = 0; s < batch.segment_samples.size(); ++s) {
    const auto found = entries_.find(batch.segment_samples[s]);
    if (found == entries_.end() || found->second.tokens < segment_tokens(batch, s)) return false;
  }
  return true;
}

void PrefixStore::load(const Batch& batch, float* hidden) {
  for (std::size_t s = 0; s < batch.segment_samples.size(); ++s) {
    const Entry& entry = entries_.at(batch.segment_samples[s]);
    const auto segment = static_cast<std::int64_t>(s);
    const auto count = static_cast<std::size_t>(batch.own_tokens(segment) * hidden_size_);
    const std::uint64_t offset = entry.offset + static_cast<std::uint64_t>(batch.tokens_before(segment) * hidden_size_);
    float* out = hidden + batch.segment_starts[s] * hidden_size_;
    if (file_) {
      // What was written can be read, unless the disk itself fails; there is no step to go on with then.
      CHECK(file_->read_at(offset * sizeof(float), std::as_writable_bytes(std::span(out, count))).ok());
    } else {
      std::copy_n(memory_.begin() + static_cast<std::ptrdiff_t>(offset), count, out);
    }
  }
}

void PrefixStore::store(const Batch& batch, const float* hidden) {
  for (std::size_t s = 0; s < batch.segment_samples.size(); ++s) {
    const Entry entry{.offset = floats_, .tokens = segment_tokens(batch, s)};
    const auto found = entries_.find(batch.segment_samples[s]);
    if (found != entries_.end() && found->second.tokens >= entry.tokens) continue;
    const auto segment = static_cast<std::int64_t>(s);
    append({hidden, static_cast<std::size_t>(batch.tokens_before(segment) * hidden_size_)});
    append({hidden + batch.segment_starts[s] * hidden_size_, static_cast<std::size_t>(batch.own_tokens(segment) * hidden_size_)});
    if (!status_.ok()) return;
    entries_[batch.segment_samples[s]] = entry;
  }
}

void PrefixStore::append(std::span<const float> rows) {
  if (rows.empty() || !status_.ok()) return;
  if (file_) {
    status_ = file_->write_at(floats_ * sizeof(float), std::as_bytes(rows));
    if (!status_.ok()) return;
  } else {
    memory_.insert(memory_.end(), rows.begin(), rows.end());
  }
  floats_ += rows.size();
}

}  // namespace evolora
