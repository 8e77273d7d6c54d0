// Whole conversions of tiny models: values, configuration, tokenizer, refusals, and that nothing is left behind when the disk fails.
#include "formats/convert.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/file_system_faults.h"
#include "base/test_folder.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_test_file.h"
#include "formats/json_text.h"
#include "formats/mlx_folder.h"

namespace evolora {
namespace {

FileSystem& files = real_file_system();
using Json = nlohmann::json;

ConvertRequest request_of(const fs::path& source, const fs::path& output) {
  ConvertRequest request;
  request.source = source;
  request.output = output;
  return request;
}

struct Converted {
  ConvertReport report;
  MlxFolder folder;
};

Converted convert_ok(const ConvertRequest& request) {
  const auto report = convert_model(files, request);
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().message);
  return {report.value(), MlxFolder::open(files, request.output).value()};
}

fs::path write_gguf(const TestFolder& folder, const GgufBuilder& builder) {
  write_test_file(folder / "m.gguf", builder.bytes());
  return folder / "m.gguf";
}

// Row `row` of a module as fp32, whatever its storage; exact for what these tests store.
std::vector<float> module_row(const MlxFolder& folder, const std::string& module, std::int64_t row) {
  const TensorView& weight = *folder.find(module + ".weight");
  const auto q = folder.quantization_of(module);
  const auto r = static_cast<std::size_t>(row);
  if (!q) {
    std::vector<float> out(static_cast<std::size_t>(weight.shape.back()));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = load_float(weight.dtype, weight.bytes.data(), r * out.size() + i);
    return out;
  }
  const TensorView& scales = *folder.find(module + ".scales");
  const TensorView& biases = *folder.find(module + ".biases");
  const auto groups = static_cast<std::size_t>(scales.shape.back());
  std::vector<std::uint32_t> packed(static_cast<std::size_t>(weight.shape.back()));
  std::memcpy(packed.data(), weight.bytes.data() + r * packed.size() * 4, packed.size() * 4);
  std::vector<float> s(groups);
  std::vector<float> b(groups);
  for (std::size_t g = 0; g < groups; ++g) {
    s[g] = load_float(scales.dtype, scales.bytes.data(), r * groups + g);
    b[g] = load_float(biases.dtype, biases.bytes.data(), r * groups + g);
  }
  std::vector<float> out(groups * static_cast<std::size_t>(q->group_size));
  affine_dequantize(*q, DType::kF32, packed.data(), s.data(), b.data(), 1, static_cast<std::int64_t>(out.size()), out.data());
  return out;
}

std::vector<float> gguf_tensor_row(const GgufFile& file, const std::string& name, std::int64_t row) {
  std::vector<float> out(static_cast<std::size_t>(file.find(name)->shape.back()));
  gguf_expand_row(*file.find(name), row, out.data());
  return out;
}

TEST(ConvertGguf, EveryTypeKeepsItsValuesAndLlamaRowsGoBack) {
  for (const GgufType type : {GgufType::kF32, GgufType::kQ4_0, GgufType::kQ4_1, GgufType::kQ8_0}) {
    const TestFolder folder;
    const fs::path source = write_gguf(folder, tiny_llama(type));
    const GgufFile file = GgufFile::open(files, source).value();
    const Converted out = convert_ok(request_of(source, folder / "out"));
    EXPECT_EQ(out.report.tensors, 20u);
    EXPECT_EQ(out.report.lossless_tensors, 20u);
    EXPECT_EQ(out.report.requantized_tensors, 0u);
    EXPECT_EQ(out.report.output_bytes, files.read(folder / "out/model.safetensors").value().size());
    // Heads of 32: MLX row h * 32 + half * 16 + i is the file's row h * 32 + 2 i + half.
    for (std::int64_t row = 0; row < 64; ++row) {
      const std::int64_t stored = row / 32 * 32 + row % 16 * 2 + row % 32 / 16;
      EXPECT_EQ(module_row(out.folder, "model.layers.1.self_attn.q_proj", row), gguf_tensor_row(file, "blk.1.attn_q.weight", stored)) << row;
      EXPECT_EQ(module_row(out.folder, "model.layers.1.self_attn.o_proj", row), gguf_tensor_row(file, "blk.1.attn_output.weight", row)) << row;
    }
    for (std::int64_t row = 0; row < 32; ++row) {
      const std::int64_t stored = row % 16 * 2 + row / 16;
      EXPECT_EQ(module_row(out.folder, "model.layers.0.self_attn.k_proj", row), gguf_tensor_row(file, "blk.0.attn_k.weight", stored)) << row;
      EXPECT_EQ(module_row(out.folder, "model.layers.0.self_attn.v_proj", row), gguf_tensor_row(file, "blk.0.attn_v.weight", row)) << row;
    }
    EXPECT_EQ(module_row(out.folder, "model.embed_tokens", 5), gguf_tensor_row(file, "token_embd.weight", 5));
    EXPECT_EQ(module_row(out.folder, "model.norm", 0), gguf_tensor_row(file, "output_norm.weight", 0));
    EXPECT_EQ(out.folder.find("lm_head.weight"), nullptr);
    EXPECT_EQ(out.folder.quantization_of("model.layers.0.mlp.up_proj"), gguf_affine_equivalent(type));
    EXPECT_EQ(out.folder.quantization_of("model.embed_tokens"), (AffineQuantization{8, 32}));
  }
}

TEST(ConvertGguf, ConfigHasWhatMlxLmNeeds) {
  const TestFolder folder;
  const Converted out = convert_ok(request_of(write_gguf(folder, tiny_llama(GgufType::kQ4_1)), folder / "out"));
  const Json expected =
      Json::parse(R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"eos_token_id":3,"head_dim":32,"hidden_act":"silu",
    "hidden_size":64,"intermediate_size":32,"max_position_embeddings":128,"mlp_bias":false,"model_type":"llama","num_attention_heads":2,
    "num_hidden_layers":2,"num_key_value_heads":1,"rms_norm_eps":1e-05,"rope_theta":100000.0,"tie_word_embeddings":true,"torch_dtype":"float16",
    "vocab_size":6,"quantization":{"group_size":32,"bits":4,"mode":"affine","model.embed_tokens":{"group_size":32,"bits":8,"mode":"affine"}},
    "quantization_config":{"group_size":32,"bits":4,"mode":"affine","model.embed_tokens":{"group_size":32,"bits":8,"mode":"affine"}}})");
  EXPECT_EQ(out.folder.config(), expected) << out.folder.config().dump(1);
  EXPECT_NE(files.read(folder / "out/config.json").value().find("\"rms_norm_eps\": 1e-05"), std::string::npos);
}

TEST(ConvertGguf, TokenizerFiles) {
  const TestFolder folder;
  convert_ok(request_of(write_gguf(folder, tiny_llama(GgufType::kF32)), folder / "out"));
  const Json tokenizer = Json::parse(files.read(folder / "out/tokenizer.json").value());
  EXPECT_EQ(tokenizer["model"]["vocab"], Json::parse(R"({"a":0,"b":1,"ab":2,"<|end|>":3,"<tool>":4,"[PAD]":5})"));
  EXPECT_EQ(tokenizer["model"]["merges"], Json::parse(R"(["a b"])"));
  ASSERT_EQ(tokenizer["added_tokens"].size(), 2u);
  EXPECT_EQ(tokenizer["added_tokens"][0]["content"], "<|end|>");
  EXPECT_EQ(tokenizer["added_tokens"][0]["special"], true);
  EXPECT_EQ(tokenizer["added_tokens"][1]["content"], "<tool>");
  EXPECT_EQ(tokenizer["added_tokens"][1]["special"], false);
  const Json config = Json::parse(files.read(folder / "out/tokenizer_config.json").value());
  EXPECT_EQ(config["eos_token"], "<|end|>");
  EXPECT_EQ(config["chat_template"], "{{ messages }}\n");
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_FALSE(config.contains("add_bos_token")) << "its presence makes transformers replace the post-processor";
  EXPECT_EQ(Json::parse(files.read(folder / "out/generation_config.json").value())["eos_token_id"], 3);
}

TEST(ConvertGguf, DenseQuantizedAndDTypes) {
  const TestFolder folder;
  const fs::path source = write_gguf(folder, tiny_llama(GgufType::kQ4_1));
  const GgufFile file = GgufFile::open(files, source).value();
  ConvertRequest request = request_of(source, folder / "dense");
  request.dequantize = true;
  request.dtype = DType::kF32;
  const Converted dense = convert_ok(request);
  EXPECT_EQ(dense.report.lossless_tensors, 20u);
  EXPECT_EQ(dense.folder.quantization_of("model.embed_tokens"), std::nullopt);
  EXPECT_EQ(module_row(dense.folder, "model.layers.0.mlp.down_proj", 3), gguf_tensor_row(file, "blk.0.ffn_down.weight", 3));
  EXPECT_FALSE(dense.folder.config().contains("quantization"));
  EXPECT_EQ(dense.folder.config()["torch_dtype"], "float32");

  request = request_of(source, folder / "q8");
  request.quantization = AffineQuantization{8, 64};
  const Converted q8 = convert_ok(request);
  EXPECT_EQ(q8.folder.quantization_of("model.layers.0.self_attn.q_proj"), (AffineQuantization{8, 64}));
  EXPECT_EQ(q8.folder.quantization_of("model.layers.0.mlp.down_proj"), std::nullopt) << "rows of 32 are not divided by groups of 64";
  EXPECT_EQ(q8.report.requantized_tensors, 15u + (20u - 15u - q8.report.lossless_tensors));
  // The stored codes are those of the codec over the rounded values.
  std::vector<float> row = gguf_tensor_row(file, "blk.0.ffn_up.weight", 7);
  std::vector<std::byte> halves(row.size() * 2);
  for (std::size_t i = 0; i < row.size(); ++i) store_float(DType::kF16, halves.data(), i, row[i]);
  std::uint32_t packed[16];
  std::uint16_t scale;
  std::uint16_t bias;
  affine_quantize({8, 64}, DType::kF16, halves.data(), 1, 64, packed, &scale, &bias);
  EXPECT_EQ(0, std::memcmp(packed, q8.folder.find("model.layers.0.mlp.up_proj.weight")->bytes.data() + 7 * 64, 64));
  EXPECT_EQ(0, std::memcmp(&scale, q8.folder.find("model.layers.0.mlp.up_proj.scales")->bytes.data() + 7 * 2, 2));
  EXPECT_EQ(0, std::memcmp(&bias, q8.folder.find("model.layers.0.mlp.up_proj.biases")->bytes.data() + 7 * 2, 2));

  request = request_of(source, folder / "bf16");
  request.dtype = DType::kBF16;
  const Converted bf16 = convert_ok(request);
  EXPECT_GT(bf16.report.requantized_tensors, 0u) << "BF16 scales are rounded and must not count as lossless";
  EXPECT_EQ(bf16.folder.find("model.layers.0.mlp.up_proj.scales")->dtype, DType::kBF16);
}

struct Refusal {
  const char* name;
  std::function<void(GgufBuilder&)> spoil;
  const char* expected;
  ErrorCode code;
};

TEST(ConvertGguf, RefusalsNameWhatIsWrongAndLeaveNothing) {
  const auto replace = [](GgufBuilder& b, const char* key, const char* value) {
    b.remove_value(key);
    b.string(key, value);
  };
  const auto number = [](GgufBuilder& b, const char* key, std::uint32_t value) {
    b.remove_value(key);
    b.u32(key, value);
  };
  constexpr auto kBad = ErrorCode::kBadData;
  constexpr auto kNo = ErrorCode::kUnsupported;
  const std::string infinity = GgufBuilder::raw(std::numeric_limits<float>::infinity());
  const std::string large = GgufBuilder::raw(1e6F);
  const Refusal rows[] = {
      {"architecture", [&](auto& b) { replace(b, "general.architecture", "phi3"); }, "architecture 'phi3' is not supported", kNo},
      {"no architecture", [](auto& b) { b.remove_value("general.architecture"); }, "'general.architecture' is missing", kBad},
      {"experts", [](auto& b) { b.u32("llama.expert_count", 8); }, "mixtures of experts", kNo},
      {"no block count", [](auto& b) { b.remove_value("llama.block_count"); }, "'llama.block_count' is missing", kBad},
      {"block count 0", [&](auto& b) { number(b, "llama.block_count", 0); }, "0 is out of range", kBad},
      {"block count of billions", [&](auto& b) { number(b, "llama.block_count", ~0u); }, "out of range", kBad},
      {"more blocks than tensors", [&](auto& b) { number(b, "llama.block_count", 3); }, "'blk.2.attn_norm.weight' is missing", kBad},
      {"fewer blocks than tensors", [&](auto& b) { number(b, "llama.block_count", 1); }, "'blk.1.attn_norm.weight' has no place", kNo},
      {"heads do not divide", [&](auto& b) { number(b, "llama.attention.head_count", 3); }, "64 is no multiple of 3 heads", kBad},
      {"heads", [&](auto& b) { number(b, "llama.attention.head_count", 4); }, "'blk.0.attn_k.weight': expected shape (16, 64), got (32, 64)", kBad},
      {"kv heads do not divide",
       [&](auto& b) {
         number(b, "llama.attention.head_count", 4);
         number(b, "llama.attention.head_count_kv", 3);
       },
       "no multiple of 3", kBad},
      {"shape", [&](auto& b) { number(b, "llama.feed_forward_length", 64); }, "'blk.0.ffn_gate.weight': expected shape (64, 64), got (32, 64)", kBad},
      {"missing tensor", [](auto& b) { b.tensors.pop_back(); }, "'output_norm.weight' is missing", kBad},
      {"strange tensor", [](auto& b) { b.tensor("rope_freqs.weight", {16}, 0, f32_data(16)); }, "'rope_freqs.weight' has no place", kNo},
      {"rope scaling", [](auto& b) { b.string("llama.rope.scaling.type", "yarn"); }, "rope scaling 'yarn'", kNo},
      {"partial rotation", [](auto& b) { b.u32("llama.rope.dimension_count", 16); }, "rotation of 16 of 32", kNo},
      {"some biases", [](auto& b) { b.tensor("blk.0.attn_q.bias", {64}, 0, f32_data(64)); }, "some layers have it", kBad},
      {"tokenizer model", [&](auto& b) { replace(b, "tokenizer.ggml.model", "llama"); }, "tokenizer model 'llama'", kNo},
      {"pre-tokenizer", [&](auto& b) { replace(b, "tokenizer.ggml.pre", "tekken"); }, "pre-tokenizer 'tekken'", kNo},
      {"no pre-tokenizer", [](auto& b) { b.remove_value("tokenizer.ggml.pre"); }, "'tokenizer.ggml.pre' is missing", kBad},
      {"eos out of range", [&](auto& b) { number(b, "tokenizer.ggml.eos_token_id", 6); }, "6 is no token (0 to 5)", kBad},
      {"bos wanted but unknown", [](auto& b) { b.flag("tokenizer.ggml.add_bos_token", true); }, "'tokenizer.ggml.bos_token_id' is missing", kBad},
      {"token types",
       [](auto& b) {
         b.remove_value("tokenizer.ggml.token_type");
         b.integers("tokenizer.ggml.token_type", {1});
       },
       "expected a type for each of 6", kBad},
      {"token twice",
       [](auto& b) {
         b.remove_value("tokenizer.ggml.tokens");
         b.strings("tokenizer.ggml.tokens", {"a", "b", "ab", "a", "x", "y"});
       },
       "tokens 0 and 3 are the same", kBad},
      {"more tokens than rows",
       [](auto& b) {
         b.remove_value("tokenizer.ggml.tokens");
         b.strings("tokenizer.ggml.tokens", {"a", "b", "ab", "c", "d", "e", "f"});
         b.remove_value("tokenizer.ggml.token_type");
         b.integers("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 1, 1});
       },
       "7 tokens, but", kBad},
      {"merge without space",
       [](auto& b) {
         b.remove_value("tokenizer.ggml.merges");
         b.strings("tokenizer.ggml.merges", {"ab"});
       },
       "merge 0: expected two pieces", kBad},
      {"merge of unknown",
       [](auto& b) {
         b.remove_value("tokenizer.ggml.merges");
         b.strings("tokenizer.ggml.merges", {"a b", "b a"});
       },
       "merge 1: \"ba\" is not in the vocabulary", kBad},
      {"infinite norm", [&](auto& b) { b.tensors.back().data.replace(8, 4, infinity); }, "'output_norm.weight': not finite at element 2", kBad},
      {"norm too large for F16", [&](auto& b) { b.tensors.back().data.replace(8, 4, large); }, "column 2: 1000000.000000 does not fit F16", kBad},
      {"corrupt file", [](auto& b) { b.tensors.back().data.pop_back(); }, "truncated", ErrorCode::kCorrupt},
  };
  for (const Refusal& row : rows) {
    const TestFolder folder;
    GgufBuilder b = tiny_llama(GgufType::kQ4_1);
    row.spoil(b);
    const auto result = convert_model(files, request_of(write_gguf(folder, b), folder / "out"));
    ASSERT_FALSE(result.ok()) << row.name;
    EXPECT_EQ(result.error().code, row.code) << row.name << ": " << result.error().message;
    EXPECT_NE(result.error().message.find(row.expected), std::string::npos) << row.name << ": " << result.error().message;
    EXPECT_EQ(files.list(folder.path()).value(), std::vector<std::string>{"m.gguf"}) << row.name;
  }
}

TEST(Convert, RequestsThatCannotBe) {
  const TestFolder folder;
  const fs::path source = write_gguf(folder, tiny_llama(GgufType::kF32));
  EXPECT_EQ(convert_model(files, request_of(folder / "none", folder / "out")).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(files.create_directories(folder / "there").ok());
  EXPECT_NE(convert_model(files, request_of(source, folder / "there/")).error().message.find("already exists"), std::string::npos);
  ConvertRequest request = request_of(source, folder / "out");
  request.quantization = AffineQuantization{4, 64};
  request.dequantize = true;
  EXPECT_EQ(convert_model(files, request).error().code, ErrorCode::kUsage);
  request.dequantize = false;
  request.quantization = AffineQuantization{7, 64};
  EXPECT_EQ(convert_model(files, request).error().code, ErrorCode::kUnsupported);
  request.quantization.reset();
  request.dtype = DType::kI32;
  EXPECT_EQ(convert_model(files, request).error().code, ErrorCode::kUsage);
}

TEST(Convert, AnyFaultLeavesNoOutput) {
  const TestFolder folder;
  const fs::path source = write_gguf(folder, tiny_llama(GgufType::kQ4_1));
  FaultyFileSystem counting(files);
  ASSERT_TRUE(convert_model(counting, request_of(source, folder / "first")).ok());
  ASSERT_TRUE(files.remove(folder / "first").ok());
  ASSERT_GT(counting.total_count(), 30u);
  for (std::size_t nth = 0; nth < counting.total_count(); ++nth) {
    FaultyFileSystem faulty(files);
    faulty.fail_any(nth, ENOSPC);
    const auto result = convert_model(faulty, request_of(source, folder / "out"));
    ASSERT_FALSE(result.ok()) << nth;
    EXPECT_EQ(result.error().code, ErrorCode::kIo);
    const bool published = nth + 1 == counting.total_count();  // only the parent's fsync comes after the rename
    EXPECT_EQ(files.list(folder.path()).value(), published ? (std::vector<std::string>{"m.gguf", "out"}) : std::vector<std::string>{"m.gguf"}) << nth;
  }
}

// A Hugging Face folder of one layer's worth of names; the planner does not look for completeness.
void write_hf_folder(const fs::path& folder, const std::string& config, bool with_head) {
  ASSERT_TRUE(files.create_directories(folder).ok());
  std::vector<std::byte> matrix(4 * 64 * 2);
  for (std::size_t i = 0; i < 256; ++i) store_float(DType::kBF16, matrix.data(), i, static_cast<float>(i % 64) / 64.0F - 0.25F);
  const std::span<const std::byte> all(matrix);
  std::vector<TensorView> tensors = {{"model.embed_tokens.weight", DType::kBF16, {4, 64}, all},
                                     {"model.layers.0.self_attn.q_proj.weight", DType::kBF16, {4, 64}, all},
                                     {"model.layers.0.self_attn.q_proj.bias", DType::kBF16, {4}, all.first(8)},
                                     {"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {2}, all.first(8)},
                                     {"model.norm.weight", DType::kBF16, {64}, all.first(128)}};
  if (with_head) tensors.push_back({"lm_head.weight", DType::kBF16, {4, 64}, all});
  ASSERT_TRUE(write_safetensors(files, folder / "model.safetensors", tensors, std::nullopt).ok());
  write_test_file(folder / "config.json", config);
  write_test_file(folder / "tokenizer.json", "{\"x\":1}");
  write_test_file(folder / "chat_template.jinja", "t");
  write_test_file(folder / "README.md", "not copied");
}

TEST(ConvertFolder, QuantizesMatricesAndCopiesTheText) {
  const TestFolder folder;
  write_hf_folder(folder / "hf", R"({"model_type":"qwen2","torch_dtype":"bfloat16","tie_word_embeddings":true,"z":1.0})", true);
  ConvertRequest request = request_of(folder / "hf", folder / "out");
  request.quantization = AffineQuantization{4, 64};
  const Converted out = convert_ok(request);
  EXPECT_EQ(out.folder.tensor_names(),
            (std::vector<std::string>{"model.embed_tokens.biases", "model.embed_tokens.scales", "model.embed_tokens.weight",
                                      "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_proj.biases",
                                      "model.layers.0.self_attn.q_proj.scales", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"}));
  EXPECT_EQ(out.folder.find("model.embed_tokens.scales")->dtype, DType::kBF16);
  EXPECT_EQ(out.folder.find("model.norm.weight")->shape, (std::vector<std::int64_t>{64}));
  EXPECT_EQ(files.list(folder / "out").value(),
            (std::vector<std::string>{"chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"}));
  EXPECT_EQ(files.read(folder / "out/tokenizer.json").value(), "{\"x\":1}");

  // And back: what was quantized is expanded as mlx does, and is not the source any more.
  ConvertRequest back = request_of(folder / "out", folder / "back");
  back.dequantize = true;
  const Converted dense = convert_ok(back);
  EXPECT_EQ(dense.folder.find("model.embed_tokens.weight")->dtype, DType::kBF16);
  EXPECT_EQ(dense.folder.find("model.embed_tokens.weight")->shape, (std::vector<std::int64_t>{4, 64}));
  EXPECT_EQ(dense.folder.find("model.embed_tokens.scales"), nullptr);
}

TEST(ConvertFolder, TheHeadIsKeptWhenTheConfigDoesNotTieIt) {
  const TestFolder folder;
  for (const auto& [config, with_head, head_after, tied_after] :
       {std::tuple{R"({"model_type":"llama"})", true, true, false}, std::tuple{R"({"model_type":"llama"})", false, false, true},
        std::tuple{R"({"model_type":"llama","tie_word_embeddings":false})", true, true, false},
        std::tuple{R"({"model_type":"llama","tie_word_embeddings":true})", true, false, true}}) {
    ASSERT_TRUE(files.remove(folder / "hf").ok() && files.remove(folder / "out").ok());
    write_hf_folder(folder / "hf", config, with_head);
    const Converted out = convert_ok(request_of(folder / "hf", folder / "out"));
    EXPECT_EQ(out.folder.find("lm_head.weight") != nullptr, head_after) << config;
    EXPECT_EQ(out.folder.config()["tie_word_embeddings"], tied_after) << config;
    EXPECT_EQ(out.report.requantized_tensors, 0u);
  }
}

TEST(ConvertFolder, Refusals) {
  const TestFolder folder;
  write_hf_folder(folder / "a", R"({"model_type":"gemma3"})", true);
  EXPECT_NE(convert_model(files, request_of(folder / "a", folder / "out")).error().message.find("model_type 'gemma3' is not supported"),
            std::string::npos);
  write_hf_folder(folder / "b", R"({"model_type":"llama","quantization_config":{"quant_method":"gptq"}})", true);
  EXPECT_EQ(convert_model(files, request_of(folder / "b", folder / "out")).error().code, ErrorCode::kUnsupported);
  const std::vector<std::byte> data(8);
  ASSERT_TRUE(write_safetensors(files, folder / "a/model.safetensors", {{"x", DType::kI64, {1}, data}}, std::nullopt).ok());
  write_test_file(folder / "a/config.json", R"({"model_type":"llama"})");
  EXPECT_NE(convert_model(files, request_of(folder / "a", folder / "out")).error().message.find("tensor 'x' (I64, rank 1) is not supported"),
            std::string::npos);
  EXPECT_FALSE(files.exists(folder / "out"));
}

}  // namespace
}  // namespace evolora
