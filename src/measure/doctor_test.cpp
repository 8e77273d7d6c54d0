// The doctor on the tiny model of the golden tests, and on one that is broken.
#include "measure/doctor.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

const Finding* find(const Diagnosis& diagnosis, const std::string& topic) {
  for (const Finding& finding : diagnosis.findings) {
    if (finding.topic == topic) return &finding;
  }
  return nullptr;
}

TEST(Doctor, LooksAtMachineAndModel) {
  const Diagnosis diagnosis = diagnose(real_file_system(), (fs::path(EVOLORA_SOURCE_DIR) / "tests/data/tiny_llama_golden/model").string());
  for (const char* topic : {"processor", "memory", "disk", "engines", "sandbox", "model", "layers", "slot lora_linear", "slot attention",
                            "slot head_loss", "self-test"}) {
    const Finding* finding = find(diagnosis, topic);
    ASSERT_NE(finding, nullptr) << topic;
    EXPECT_NE(finding->health, Health::kBad) << topic << ": " << finding->text;
  }
  EXPECT_NE(find(diagnosis, "layers")->text.find("14 x 4-bit group 32"), std::string::npos) << find(diagnosis, "layers")->text;
  EXPECT_NE(find(diagnosis, "slot attention")->text.find("2 of 2 blocks"), std::string::npos);
}

TEST(Doctor, WithoutAModelItStillTestsKernels) {
  const Diagnosis diagnosis = diagnose(real_file_system(), "");
  ASSERT_NE(find(diagnosis, "self-test"), nullptr);
  EXPECT_EQ(find(diagnosis, "self-test")->health, Health::kGood);
}

TEST(Doctor, ABrokenModelIsNotReady) {
  TestFolder folder;
  EXPECT_FALSE(diagnose(real_file_system(), folder.path().string()).ready());
}

}  // namespace
}  // namespace evolora
