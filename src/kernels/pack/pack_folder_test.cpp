// Pack folders: written and read back, and manifests that are refused.
#include "kernels/pack/pack_folder.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

KernelPack small_pack() {
  return {.manifest = {.name = "small", .slots = {"lora_linear_forward"}, .files = {"a.cpp", "b.cpp"}},
          .sources = {{"a.cpp", "int a;\n"}, {"b.cpp", "int b;\n"}}};
}

TEST(PackFolder, WrittenAndReadBackIsTheSame) {
  TestFolder folder;
  FileSystem& files = real_file_system();
  const KernelPack pack = small_pack();
  ASSERT_TRUE(write_pack(files, folder / "p", pack).ok());
  const auto read = read_pack(files, folder / "p");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->manifest, pack.manifest);
  EXPECT_EQ(read->sources, pack.sources);
  EXPECT_EQ(read->digest(), pack.digest());
}

TEST(PackFolder, DigestIsOfWhatIsCompiledAndServed) {
  const KernelPack pack = small_pack();
  KernelPack other = pack;
  other.manifest.name = "renamed";
  EXPECT_EQ(other.digest(), pack.digest());
  other.sources["a.cpp"] = "int a; ";
  EXPECT_NE(other.digest(), pack.digest());
  other = pack;
  std::swap(other.sources["a.cpp"], other.sources["b.cpp"]);
  EXPECT_NE(other.digest(), pack.digest());
  other = pack;
  other.manifest.slots = {"lora_linear_backward"};
  EXPECT_NE(other.digest(), pack.digest());
  EXPECT_EQ(pack.service_name(), "pack:" + pack.digest().substr(0, 12) + " forward");
}

TEST(PackFolder, PacksForMlxHaveSlotsAndRulesOfTheirOwn) {
  TestFolder folder;
  FileSystem& files = real_file_system();
  KernelPack pack{.manifest = {.name = "small", .target = PackTarget::kMlx, .slots = {"dora_linear"}, .files = {"k.cpp"}},
                  .sources = {{"k.cpp", "#include \"evolora_mlx_pack.h\"\n"}}};
  ASSERT_TRUE(write_pack(files, folder / "p", pack).ok());
  const auto read = read_pack(files, folder / "p");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->manifest, pack.manifest);
  EXPECT_EQ(pack.service_name(), "pack:" + pack.digest().substr(0, 12));
  // The same text for another target is another pack.
  KernelPack other = pack;
  other.manifest.target = PackTarget::kCpu;
  EXPECT_NE(other.digest(), pack.digest());
  pack.sources["k.cpp"] = "#include \"evolora_pack.h\"\n";
  ASSERT_TRUE(write_pack(files, folder / "p", pack).ok());
  EXPECT_NE(read_pack(files, folder / "p").error().message.find("k.cpp:1: #include \"evolora_pack.h\": expected one of"), std::string::npos);
  pack.manifest.slots = {"lora_linear_forward"};
  ASSERT_TRUE(write_pack(files, folder / "p", pack).ok());
  EXPECT_NE(read_pack(files, folder / "p").error().message.find("slots: expected some of dora_linear, lora_linear, got"), std::string::npos);
}

TEST(PackFolder, ManifestsThatSayTooLittleOrTooMuchAreRefused) {
  const auto refusal = [](const char* text) {
    const auto manifest = manifest_from_json(nlohmann::ordered_json::parse(text), "pack.json");
    return manifest.ok() ? "" : manifest.error().message;
  };
  const std::string good = R"({"name": "n", "target": "cpu", "slots": ["lora_linear_forward"], "files": ["k.cpp"]})";
  EXPECT_EQ(refusal(good.c_str()), "");
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {R"([])", "expected an object"},
      {R"({"name": "", "target": "cpu", "slots": ["lora_linear_forward"], "files": ["k.cpp"]})", "name: expected a text"},
      {R"({"name": "n", "target": "gpu", "slots": ["lora_linear_forward"], "files": ["k.cpp"]})", "target: expected \"cpu\" or \"mlx\", got \"gpu\""},
      {R"({"name": "n", "target": "cpu", "slots": [], "files": ["k.cpp"]})", "slots: expected a list"},
      {R"({"name": "n", "target": "cpu", "slots": ["lora_linear"], "files": ["k.cpp"]})", "slots: expected some of"},
      {R"({"name": "n", "target": "cpu", "slots": ["lora_linear_forward", "lora_linear_forward"], "files": ["k.cpp"]})", "stands there twice"},
      {R"({"name": "n", "target": "cpu", "slots": ["lora_linear_forward"], "files": [1]})", "files: expected texts, got 1"},
      {R"({"name": "n", "target": "cpu", "slots": ["lora_linear_forward"]})", "files: expected a list of texts, got null"},
      {R"({"name": "n", "target": "cpu", "slots": ["lora_linear_forward"], "files": ["k.cpp"], "file": 1})",
       "unknown key 'file'; did you mean 'files'?"},
  };
  for (const auto& [text, part] : wrong) EXPECT_NE(refusal(text.c_str()).find(part), std::string::npos) << text << ": " << refusal(text.c_str());
  for (const char* name : {"../k.cpp", "/k.cpp", "a/k.cpp", "k.h", ".cpp", "-o.cpp", "a b.cpp", "k.cpp.", ""}) {
    const std::string text = R"({"name": "n", "target": "cpu", "slots": ["lora_linear_forward"], "files": [")" + std::string(name) + R"("]})";
    EXPECT_NE(refusal(text.c_str()), "") << name;
  }
}

TEST(PackFolder, MissingFilesAndForbiddenSourcesNameThemselves) {
  TestFolder folder;
  FileSystem& files = real_file_system();
  const auto refusal = [&](const fs::path& path) { return read_pack(files, path).error().message; };
  EXPECT_NE(refusal(folder / "none").find("none/pack.json: no such file"), std::string::npos);
  KernelPack pack = small_pack();
  pack.sources["b.cpp"] = "int b;\nasm(\"\");\n";
  ASSERT_TRUE(write_pack(files, folder / "p", pack).ok());
  EXPECT_NE(refusal(folder / "p").find("p/b.cpp:2: 'asm' is not allowed"), std::string::npos) << refusal(folder / "p");
  ASSERT_TRUE(files.remove(folder / "p/b.cpp").ok());
  EXPECT_NE(refusal(folder / "p").find("b.cpp"), std::string::npos) << refusal(folder / "p");
}

}  // namespace
}  // namespace evolora
