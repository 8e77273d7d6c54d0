// Verbs of the data oracle: samples and batches of a JSONL file, and the two random generators.
//   batches MODEL IN.json OUT.json  in: {"path", "mask_prompt", "max_seq_length", "native"?: bool, "batch_size", "seed", "epochs"}
//                                   out: {"samples": [{"tokens", "supervised", "offset"}], "epochs": [[{"ids", "offsets", "lengths", "engine"}]]} or
//                                   {"error"}
//   random IN.json OUT.json         in: {"numpy": [{"seed", "sizes"}], "mlx": [{"seed", "draws": [[size, low, high]]}]}
//                                   out: {"numpy": [[permutation]], "mlx": [[[bits]]]}
#include <bit>
#include <cstdio>
#include <string>

#include "base/file_system.h"
#include "base/json.h"
#include "base/mlx_random.h"
#include "base/numpy_random.h"
#include "data/batcher.h"
#include "probe_verbs.h"

namespace evolora::probe {

namespace {

using Json = nlohmann::ordered_json;

Json engine_json(const Batch& batch) {
  return {{"tokens", batch.tokens},       {"positions", batch.positions}, {"segment_starts", batch.segment_starts},
          {"loss_rows", batch.loss_rows}, {"targets", batch.targets},     {"real_tokens", batch.real_tokens}};
}

Json padded_json(const PaddedBatch& padded) {
  Json out = {{"ids", Json::array()}, {"offsets", padded.offsets}, {"lengths", padded.lengths}, {"engine", engine_json(to_engine_batch(padded))}};
  for (std::int64_t row = 0; row < padded.rows; ++row) {
    const auto begin = padded.ids.begin() + row * padded.width;
    out["ids"].push_back(std::vector<std::int32_t>(begin, begin + padded.width));
  }
  return out;
}

Result<Json> batches_of(const Tokenizer& tokenizer, const Json& request) {
  SampleOptions options;
  options.semantics = request.value("native", false) ? Semantics::kNative : Semantics::kCompatMlxLm;
  options.mask_prompt = request["mask_prompt"].get<bool>();
  options.max_seq_length = request["max_seq_length"].get<std::int64_t>();
  const RecordFile records = TRY(read_records(real_file_system(), request["path"].get<std::string>(), options.names));
  SampleSet set = TRY(make_samples(records, tokenizer, options));
  Json out = {{"samples", Json::array()}, {"epochs", Json::array()}};
  for (const Sample& sample : set.samples) {
    out["samples"].push_back({{"tokens", sample.tokens}, {"supervised", sample.supervised}, {"offset", sample.offset}});
  }
  const auto batch_size = request["batch_size"].get<std::int64_t>();
  const auto seed = request["seed"].get<std::uint32_t>();
  NumpyRandom random(seed);
  std::unique_ptr<CompatBatcher> compat;
  std::unique_ptr<Batcher> native;
  if (options.semantics == Semantics::kNative) {
    native = make_native_batcher(std::move(set.samples), batch_size, seed);
  } else {
    compat = TRY(CompatBatcher::create(std::move(set.samples), batch_size, options.max_seq_length, random));
  }
  for (int epoch = 0; epoch < request["epochs"].get<int>(); ++epoch) {
    Json list = Json::array();
    if (compat != nullptr) {
      for (const PaddedBatch& padded : compat->next_epoch_padded()) list.push_back(padded_json(padded));
    } else {
      for (const Batch& batch : native->next_epoch()) list.push_back({{"engine", engine_json(batch)}});
    }
    out["epochs"].push_back(std::move(list));
  }
  return out;
}

Status batches(const fs::path& model, const fs::path& in, const fs::path& out_path) {
  FileSystem& files = real_file_system();
  const Tokenizer tokenizer = TRY(Tokenizer::load(files, model));
  const std::string request_text = TRY(files.read(in));
  const Json requests = TRY(parse_json(request_text));
  Json out = Json::array();
  for (const Json& request : requests) {
    const Result<Json> answer = batches_of(tokenizer, request);
    out.push_back(answer.ok() ? *answer : Json{{"error", answer.error().message}});
  }
  const std::string text = TRY(json_to_text(out));
  return write_file_atomically(files, out_path, text);
}

Status random(const fs::path& in, const fs::path& out_path) {
  FileSystem& files = real_file_system();
  const Json request = TRY(read_json_object(files, in));
  Json out = {{"numpy", Json::array()}, {"mlx", Json::array()}};
  for (const Json& stream : request["numpy"]) {
    NumpyRandom generator(stream["seed"].get<std::uint32_t>());
    Json permutations = Json::array();
    for (const Json& size : stream["sizes"]) permutations.push_back(generator.permutation(size.get<std::int64_t>()));
    out["numpy"].push_back(std::move(permutations));
  }
  for (const Json& stream : request["mlx"]) {
    MlxRandom generator(stream["seed"].get<std::uint64_t>());
    Json arrays = Json::array();
    for (const Json& draw : stream["draws"]) {
      std::vector<float> values(draw[0].get<std::size_t>());
      mlx_uniform(generator.next_key(), draw[1].get<float>(), draw[2].get<float>(), values);
      Json bits = Json::array();
      for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
      arrays.push_back(std::move(bits));
    }
    out["mlx"].push_back(std::move(arrays));
  }
  const std::string text = TRY(json_to_text(out));
  return write_file_atomically(files, out_path, text);
}

int exit_status(const char* verb, const char* arguments, bool complete, const Status& status) {
  if (!complete) std::fprintf(stderr, "usage: %s %s\n", verb, arguments);
  if (!status.ok()) std::fprintf(stderr, "%s: %s\n", verb, status.error().message.c_str());
  return status.ok() && complete ? 0 : 2;
}

}  // namespace

int probe_batches(int argc, char** argv) {
  return exit_status(argv[0], "MODEL IN.json OUT.json", argc == 4, argc == 4 ? batches(argv[1], argv[2], argv[3]) : Status());
}
int probe_random(int argc, char** argv) {
  return exit_status(argv[0], "IN.json OUT.json", argc == 3, argc == 3 ? random(argv[1], argv[2]) : Status());
}

}  // namespace evolora::probe
