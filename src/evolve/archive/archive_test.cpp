// The archive: events come back as they went in; torn, foreign and taken files are refused in words.
#include "evolve/archive/archive.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

SearchEvent event_of(std::int64_t number, const std::string& source) {
  Individual one{.number = number, .island = 1, .candidate = {{{"rows", 64}}, {{"k.cpp", source}}}, .parents = {0}, .origin = "mutation"};
  one.digest = one.candidate.digest();
  one.record = {{"tokens", 3}};
  one.judgement.outcome = Outcome::kScored;
  one.judgement.log_speed = {1.0 / 3};
  return {.run = 0, .kind = MeasurementKind::kJudge, .number = number, .seed = UINT64_MAX - 1, .judgement = one.judgement, .individual = one};
}

class ArchiveTest : public testing::Test {
 protected:
  TestFolder folder_;
  fs::path path_ = folder_.path() / "a.sqlite";
  FileSystem& files_ = real_file_system();
};

TEST_F(ArchiveTest, EventsComeBack) {
  {
    Archive archive = Archive::create(path_, {{"seed", 1}}).value();
    ASSERT_TRUE(archive.append(event_of(0, "same")).ok());
    ASSERT_TRUE(archive.append(event_of(1, "same")).ok());
    SearchEvent again{.kind = MeasurementKind::kAgain, .number = 1, .seed = 5};
    ASSERT_TRUE(archive.append(again).ok());
    ASSERT_TRUE(archive.append_exchange({0, 1, {{"prompt", "p"}}}).ok());
    const auto reader = Archive::open_read_only(path_);  // while it is written
    ASSERT_TRUE(reader.ok()) << reader.error().message;
    EXPECT_EQ(reader->events().value().size(), 3U);
  }
  const Archive archive = Archive::open(path_).value();
  EXPECT_EQ(archive.plan()["seed"], 1);
  const auto events = archive.events().value();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].seed, UINT64_MAX - 1);
  EXPECT_EQ(events[0].judgement.log_speed, std::vector<double>{1.0 / 3});
  ASSERT_TRUE(events[1].individual.has_value());
  EXPECT_EQ(events[1].individual->candidate.sources.at("k.cpp"), "same");
  EXPECT_EQ(events[1].individual->record["tokens"], 3);
  EXPECT_EQ(events[1].individual->parents, std::vector<std::int64_t>{0});
  EXPECT_EQ(events[2].kind, MeasurementKind::kAgain);
  EXPECT_EQ(archive.exchanges().value().at(0).json["prompt"], "p");
}

TEST_F(ArchiveTest, ASecondNumberIsRefusedAndNothingOfItStays) {
  Archive archive = Archive::create(path_, {{"seed", 1}}).value();
  ASSERT_TRUE(archive.append(event_of(0, "a")).ok());
  EXPECT_FALSE(archive.append(event_of(0, "b")).ok());
  EXPECT_EQ(archive.events().value().size(), 1U);
  EXPECT_TRUE(archive.append(event_of(1, "c")).ok());
}

TEST_F(ArchiveTest, ASecondWriterIsRefused) {
  const Archive archive = Archive::create(path_, {{"seed", 1}}).value();
  const auto second = Archive::open(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kUsage);
  EXPECT_NE(second.error().message.find("another search is writing"), std::string::npos);
}

TEST_F(ArchiveTest, ForeignAndTornFilesAreNamed) {
  ASSERT_TRUE(write_file_atomically(files_, path_, "no database at all, just words that are long enough to be read as a header").ok());
  EXPECT_EQ(Archive::open(path_).error().code, ErrorCode::kBadData);
  EXPECT_EQ(Archive::open_read_only(folder_.path() / "none").error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(files_.remove(path_).ok());
  {
    Archive archive = Archive::create(path_, {{"seed", 1}}).value();
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(archive.append(event_of(i, std::string(1000, static_cast<char>('a' + i % 26)))).ok());
  }
  std::string bytes = files_.read(path_).value();
  ASSERT_GT(bytes.size(), 8192U);
  bytes.resize(bytes.size() / 2);
  ASSERT_TRUE(write_file_atomically(files_, path_, bytes).ok());
  const auto torn = Archive::open(path_);
  ASSERT_FALSE(torn.ok());
  EXPECT_EQ(torn.error().code, ErrorCode::kCorrupt) << torn.error().message;
}

}  // namespace
}  // namespace evolora
