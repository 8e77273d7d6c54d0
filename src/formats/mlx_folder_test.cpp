// Model folders: shards, quantization blocks with per-module entries, and everything that does not fit together.
#include "formats/mlx_folder.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

FileSystem& files = real_file_system();

struct Planned {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
};

void write_weights(const fs::path& path, const std::vector<Planned>& plan) {
  std::vector<std::vector<std::byte>> data;
  std::vector<TensorView> tensors;
  data.reserve(plan.size());
  for (const Planned& p : plan) {
    TensorView view{p.name, p.dtype, p.shape, {}};
    data.emplace_back(static_cast<std::size_t>(view.element_count()) * dtype_size_bytes(p.dtype));
    view.bytes = data.back();
    tensors.push_back(view);
  }
  ASSERT_TRUE(write_safetensors(files, path, tensors, std::nullopt).ok());
}

// A module packed as bits and group: weight (8, in * bits / 32), scales and biases (8, in / group).
std::vector<Planned> packed(const std::string& module, int bits, int group, std::int64_t in = 128) {
  return {{module + ".weight", DType::kU32, {8, in * bits / 32}},
          {module + ".scales", DType::kF16, {8, in / group}},
          {module + ".biases", DType::kF16, {8, in / group}}};
}

std::vector<Planned> operator+(std::vector<Planned> a, const std::vector<Planned>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(MlxFolder, DefaultAndPerModuleQuantization) {
  const TestFolder folder;
  write_test_file(folder / "config.json", R"({"model_type":"llama","quantization":{"group_size":64,"bits":4,"mode":"affine","linear_class":"x",
    "embed":{"group_size":32,"bits":8},"dense_by_entry":false,"listed":true}})");
  write_weights(folder / "model.safetensors",
                packed("a", 4, 64) + packed("embed", 8, 32) + packed("listed", 4, 64) +
                    std::vector<Planned>{{"norm.weight", DType::kF16, {4}}, {"dense_by_entry.weight", DType::kF16, {4, 4}}});
  const MlxFolder model = MlxFolder::open(files, folder.path()).value();
  EXPECT_EQ(model.config()["model_type"], "llama");
  EXPECT_EQ(model.quantization_of("a"), (AffineQuantization{4, 64}));
  EXPECT_EQ(model.quantization_of("embed"), (AffineQuantization{8, 32}));
  EXPECT_EQ(model.quantization_of("listed"), (AffineQuantization{4, 64}));
  EXPECT_EQ(model.quantization_of("norm"), std::nullopt);
  EXPECT_EQ(model.quantization_of("dense_by_entry"), std::nullopt);
  EXPECT_EQ(model.quantization_of("linear_class"), std::nullopt);
  EXPECT_EQ(model.find("nothing"), nullptr);
  EXPECT_EQ(model.tensor_names().size(), 11u);
}

TEST(MlxFolder, EveryWidthMayStandBesideEveryOther) {
  const TestFolder folder;
  nlohmann::json block = {{"group_size", 64}, {"bits", 3}, {"mode", "affine"}};
  std::vector<Planned> tensors = packed("default", 3, 64);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      const std::string module = "m" + std::to_string(bits) + "." + std::to_string(group);
      block[module] = {{"group_size", group}, {"bits", bits}};
      tensors = std::move(tensors) + packed(module, bits, group);
    }
  }
  write_test_file(folder / "config.json", nlohmann::json{{"quantization", block}}.dump());
  write_weights(folder / "model.safetensors", tensors);
  const MlxFolder model = MlxFolder::open(files, folder.path()).value();
  EXPECT_EQ(model.quantization_of("default"), (AffineQuantization{3, 64}));
  EXPECT_EQ(model.quantization_of("m5.32"), (AffineQuantization{5, 32}));
  EXPECT_EQ(model.quantization_of("m2.128"), (AffineQuantization{2, 128}));
}

TEST(MlxFolder, ViewsOutliveTheOriginalObject) {
  const TestFolder folder;
  write_test_file(folder / "config.json", "{}");
  write_weights(folder / "model.safetensors", {{"w", DType::kF32, {2}}});
  std::optional<MlxFolder> model = MlxFolder::open(files, folder.path()).value();
  const MlxFolder copy = *model;
  model.reset();
  EXPECT_EQ(copy.find("w")->bytes.size(), 8u);
  EXPECT_EQ(copy.find("w")->bytes[7], std::byte{0});
}

TEST(MlxFolder, Shards) {
  const TestFolder folder;
  write_test_file(folder / "config.json", "{}");
  write_weights(folder / "model-00001-of-00002.safetensors", {{"a", DType::kF32, {2}}});
  write_weights(folder / "model-00002-of-00002.safetensors", {{"b", DType::kF32, {2}}});
  write_weights(folder / "adapters.safetensors", {{"c", DType::kF32, {2}}});
  EXPECT_EQ(MlxFolder::open(files, folder.path()).value().tensor_names(), (std::vector<std::string>{"a", "b"}));
  write_test_file(folder / "model.safetensors.index.json",
                  R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
  EXPECT_TRUE(MlxFolder::open(files, folder.path()).ok());

  ASSERT_TRUE(files.remove(folder / "model-00002-of-00002.safetensors").ok());
  const Error missing = MlxFolder::open(files, folder.path()).error();
  EXPECT_EQ(missing.code, ErrorCode::kNotFound);
  EXPECT_NE(missing.message.find("model-00002-of-00002.safetensors: this shard is missing"), std::string::npos) << missing.message;

  write_weights(folder / "model-00002-of-00002.safetensors", {{"a", DType::kF32, {2}}});
  EXPECT_NE(MlxFolder::open(files, folder.path()).error().message.find("tensor 'a' is already in another shard"), std::string::npos);
}

TEST(MlxFolder, MissingPieces) {
  const TestFolder folder;
  EXPECT_EQ(MlxFolder::open(files, folder / "none").error().code, ErrorCode::kNotFound);
  EXPECT_NE(MlxFolder::open(files, folder.path()).error().message.find("config.json: not found"), std::string::npos);
  write_test_file(folder / "config.json", "{}");
  EXPECT_NE(MlxFolder::open(files, folder.path()).error().message.find("no model*.safetensors"), std::string::npos);
  write_test_file(folder / "model.safetensors", "short");
  const Error truncated = MlxFolder::open(files, folder.path()).error();
  EXPECT_EQ(truncated.code, ErrorCode::kCorrupt);
  EXPECT_NE(truncated.message.find("model.safetensors: truncated"), std::string::npos);
  write_test_file(folder / "config.json", "[]");
  EXPECT_EQ(MlxFolder::open(files, folder.path()).error().code, ErrorCode::kBadData);
}

struct Row {
  const char* config;
  std::vector<Planned> tensors;
  const char* expected;
  ErrorCode code = ErrorCode::kBadData;
};

TEST(MlxFolder, RefusesWhatDoesNotFit) {
  const auto changed = [](std::vector<Planned> tensors, std::size_t i, DType dtype, std::vector<std::int64_t> shape) {
    tensors[i].dtype = dtype;
    tensors[i].shape = std::move(shape);
    return tensors;
  };
  const auto without = [](std::vector<Planned> tensors, std::size_t i) {
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
    return tensors;
  };
  const std::vector<Planned> dense = {{"w.weight", DType::kF16, {2, 2}}};
  const char* q64 = R"({"quantization":{"group_size":64,"bits":4}})";
  const char* q64_3 = R"({"quantization":{"group_size":64,"bits":3}})";
  const Row rows[] = {
      {R"({"quantization_config":{"quant_method":"gptq","bits":4}})", dense, "quantization method 'gptq' is not supported", ErrorCode::kUnsupported},
      {R"({"quantization_config":{"quant_method":"bitsandbytes"}})", dense, "'bitsandbytes'", ErrorCode::kUnsupported},
      {R"({"text_config":{"quantization_config":{"quant_method":"awq"}}})", dense, "'awq'", ErrorCode::kUnsupported},
      {R"({"quantization":{"group_size":32,"bits":4,"mode":"mxfp4"}})", dense, "mode \"mxfp4\" is not supported", ErrorCode::kUnsupported},
      {R"({"quantization":{"group_size":64,"bits":4,"a":{"group_size":16,"bits":4,"mode":"nvfp4"}}})", dense,
       "module 'a': quantization mode \"nvfp4\"", ErrorCode::kUnsupported},
      {R"({"quantization":{"group_size":64,"bits":7}})", dense, "7 bits and group size 64 is not supported", ErrorCode::kUnsupported},
      {R"({"quantization":{"group_size":64,"bits":1}})", dense, "1 bits and group size 64 is not supported", ErrorCode::kUnsupported},
      {R"({"quantization":{"group_size":64,"bits":4,"a":{"group_size":48,"bits":3}}})", dense,
       "module 'a': quantization with 3 bits and group size 48", ErrorCode::kUnsupported},
      {R"({"quantization":{"group_size":16,"bits":4}})", dense, "group size 16", ErrorCode::kUnsupported},
      {R"({"quantization":{"group_size":64,"bits":"4"}})", dense, "'bits': expected a positive integer, got \"4\""},
      {R"({"quantization":{"group_size":64,"bits":99999999999}})", dense, "expected a positive integer"},
      {R"({"quantization":4})", dense, "expected an object, got number"},
      {"{}", packed("a", 4, 64), "'a.scales' exists, but 'quantization' does not say"},
      {R"({"quantization":{"group_size":64,"bits":4,"a":false}})", packed("a", 4, 64), "does not say how 'a' is quantized"},
      {R"({"quantization":{"group_size":64,"bits":4,"w":true}})", dense, "lists module 'w', but there is no tensor 'w.scales'"},
      {q64, packed("a", 4, 32), "weight U32 (8, 16) and scales F16 (8, 4) do not fit 4 bits and group size 64"},
      {q64, packed("a", 8, 64), "do not fit 4 bits"},
      {q64, packed("a", 3, 64), "weight U32 (8, 12) and scales F16 (8, 2) do not fit 4 bits"},
      {q64_3, packed("a", 4, 64), "weight U32 (8, 16) and scales F16 (8, 2) do not fit 3 bits"},
      {q64_3, changed(packed("a", 3, 64), 0, DType::kU32, {8, 13}), "do not fit 3 bits"},
      {q64_3, changed(packed("a", 3, 64), 0, DType::kU32, {8, 0}), "do not fit 3 bits"},
      {q64_3, changed(packed("a", 3, 64), 0, DType::kU8, {8, 48}), "expected a packed U32 weight"},
      {q64, without(packed("a", 4, 64), 0), "has scales but no weight"},
      {q64, without(packed("a", 4, 64), 2), "has scales but no biases"},
      {q64, changed(packed("a", 4, 64), 0, DType::kI32, {8, 16}), "expected a packed U32 weight, got I32 (8, 16)"},
      {q64, changed(packed("a", 4, 64), 0, DType::kU32, {7, 16}), "do not fit"},
      {q64, changed(packed("a", 4, 64), 0, DType::kU32, {128}), "do not fit"},
      {q64, changed(packed("a", 4, 64), 0, DType::kU32, {}), "do not fit"},
      {q64, changed(packed("a", 4, 64), 1, DType::kU8, {8, 2}), "expected float scales"},
      {q64, changed(packed("a", 4, 64), 2, DType::kBF16, {8, 2}), "expected biases like scales"},
      {q64, changed(packed("a", 4, 64), 2, DType::kF16, {8, 1}), "expected biases like scales"},
  };
  for (const Row& row : rows) {
    const TestFolder folder;
    write_test_file(folder / "config.json", row.config);
    write_weights(folder / "model.safetensors", row.tensors);
    const auto result = MlxFolder::open(files, folder.path());
    ASSERT_FALSE(result.ok()) << row.expected;
    EXPECT_EQ(result.error().code, row.code) << result.error().message;
    EXPECT_NE(result.error().message.find(row.expected), std::string::npos) << row.expected << "\n" << result.error().message;
  }
}

TEST(MlxFolder, ModelOptFolderIsRefusedByName) {
  const TestFolder folder;
  write_test_file(folder / "config.json", "{}");
  write_test_file(folder / "hf_quant_config.json", "{}");
  write_weights(folder / "model.safetensors", {{"w", DType::kF32, {2}}});
  EXPECT_NE(MlxFolder::open(files, folder.path()).error().message.find("'modelopt'"), std::string::npos);
}

}  // namespace
}  // namespace evolora
