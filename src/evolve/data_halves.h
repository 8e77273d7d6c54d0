// The two halves of a data folder: what a search may see, and what only a confirmation sees. Split by the digest of each record's line, so that the
// same record is always in the same half, whatever stands around it.
#pragma once

#include "base/file_system.h"

namespace evolora {

// Writes target/search and target/confirm, each with the train.jsonl and valid.jsonl of `data` that exist. kBadData if a half has fewer than
// `fewest` training records.
Status write_data_halves(FileSystem& files, const fs::path& data, const fs::path& target, std::size_t fewest);

}  // namespace evolora
