// Fuzz target: any bytes as a train.jsonl. What the reader accepts must have records of one format with increasing line numbers.
#include "base/check.h"
#include "data/records.h"
#include "one_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  evolora::OneFile files(data, size);
  const auto file = evolora::read_records(files, "fuzz.jsonl", evolora::FeatureNames());
  if (!file.ok()) {
    CHECK(!file.error().message.empty() && file.error().message.find('\n') == std::string::npos);
    return 0;
  }
  std::size_t last_line = 0;
  for (const evolora::Record& record : file->records) {
    CHECK(record.line > last_line && record.fields.is_object());
    last_line = record.line;
  }
  return 0;
}
