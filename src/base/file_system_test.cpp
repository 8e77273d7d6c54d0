// The real file system and atomic replacement, the latter with a fault at every operation.
#include "base/file_system.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/file_system_faults.h"
#include "base/test_folder.h"

namespace evolora {
namespace {

FileSystem& files = real_file_system();

std::string text_of(const MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

TEST(FileSystem, WritesAppendsReadsAndMaps) {
  const TestFolder folder;
  const fs::path path = folder / "a.txt";
  {
    auto file = files.create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->write(std::as_bytes(std::span("hello", 5))).ok());
    ASSERT_TRUE((*file)->sync().ok());
    ASSERT_TRUE((*file)->close().ok());
  }
  {
    auto file = files.append(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->write(std::as_bytes(std::span(" you", 4))).ok());
    ASSERT_TRUE((*file)->close().ok());
  }
  EXPECT_EQ(files.read(path).value(), "hello you");
  MappedFile mapped = files.map(path).value();
  const MappedFile copy = mapped;
  mapped = MappedFile();
  EXPECT_TRUE(files.remove(path).ok());
  EXPECT_EQ(text_of(copy), "hello you") << "a copy keeps the mapping alive, also after the file is gone";
}

TEST(FileSystem, EmptyFileMapsToNoBytes) {
  const TestFolder folder;
  ASSERT_TRUE(write_file_atomically(files, folder / "empty", "").ok());
  EXPECT_EQ(files.map(folder / "empty").value().bytes().size(), 0u);
}

TEST(FileSystem, ErrorsNameThePathAndTheReason) {
  const TestFolder folder;
  const fs::path missing = folder / "missing";
  for (const Error& error : {files.read(missing).error(), files.map(missing).error(), files.list(missing).error(),
                             files.rename(missing, folder / "b").error(), files.create(missing / "x").error()}) {
    EXPECT_EQ(error.code, ErrorCode::kNotFound);
    EXPECT_NE(error.message.find(missing.string()), std::string::npos) << error.message;
    EXPECT_NE(error.message.find("No such file"), std::string::npos) << error.message;
  }
  EXPECT_EQ(files.map(folder.path()).error().code, ErrorCode::kIo);
  EXPECT_EQ(files.map("/dev/null").error().code, ErrorCode::kIo);
  EXPECT_EQ(files.create(folder.path()).error().code, ErrorCode::kIo);
}

TEST(FileSystem, FullDeviceIsReported) {
  auto file = files.create("/dev/full");
  if (!file.ok()) GTEST_SKIP() << "no /dev/full here";
  const Status written = (*file)->write(std::as_bytes(std::span("x", 1)));
  EXPECT_EQ(written.error().code, ErrorCode::kIo);
  EXPECT_NE(written.error().message.find("No space left"), std::string::npos);
}

TEST(FileSystem, ListsSortedAndRemovesTrees) {
  const TestFolder folder;
  ASSERT_TRUE(files.create_directories(folder / "d/e").ok());
  ASSERT_TRUE(write_file_atomically(files, folder / "d/z", "1").ok());
  ASSERT_TRUE(write_file_atomically(files, folder / "d/a", "2").ok());
  EXPECT_EQ(files.list(folder / "d").value(), (std::vector<std::string>{"a", "e", "z"}));
  EXPECT_TRUE(files.is_directory(folder / "d/e"));
  EXPECT_TRUE(files.remove(folder / "d").ok());
  EXPECT_FALSE(files.exists(folder / "d"));
  EXPECT_TRUE(files.remove(folder / "d").ok()) << "removing what is missing is fine";
}

TEST(AtomicWrite, AnyFaultLeavesTheOldContentAndNoTemporaryFile) {
  const TestFolder folder;
  const fs::path path = folder / "weights";
  const auto write_twice = [](WritableFile& file) -> Status {
    TRY(file.write(std::as_bytes(std::span("new", 3))));
    return file.write(std::as_bytes(std::span("er", 2)));
  };
  ASSERT_TRUE(write_file_atomically(files, path, "old").ok());

  FaultyFileSystem counting(files);
  ASSERT_TRUE(write_file_atomically(counting, path, write_twice).ok());
  ASSERT_EQ(counting.count(FileOperation::kSync), 1u) << "without fsync before rename a crash can leave an empty file";
  ASSERT_EQ(counting.count(FileOperation::kSyncDirectory), 1u);
  ASSERT_EQ(counting.total_count(), 6u);

  for (std::size_t nth = 0; nth < counting.total_count(); ++nth) {
    for (const int error_number : {ENOSPC, EIO, EACCES}) {
      ASSERT_TRUE(write_file_atomically(files, path, "old").ok());
      FaultyFileSystem faulty(files);
      faulty.fail_any(nth, error_number);
      const Status status = write_file_atomically(faulty, path, write_twice);
      ASSERT_FALSE(status.ok()) << nth;
      EXPECT_EQ(status.error().code, ErrorCode::kIo);
      const bool renamed = nth + 1 == counting.total_count();  // only the folder's fsync comes after the rename
      EXPECT_EQ(files.read(path).value(), renamed ? "newer" : "old") << nth;
      EXPECT_EQ(files.list(folder.path()).value(), std::vector<std::string>{"weights"}) << nth;
    }
  }
}

TEST(FileSystem, ANamedPipeInTheWeightsPlaceIsAnErrorAndNotAWait) {
  const TestFolder folder;
  ASSERT_EQ(::mkfifo((folder / "model.safetensors").c_str(), 0600), 0);
  EXPECT_NE(files.map(folder / "model.safetensors").error().message.find("not a regular file"), std::string::npos);
}

TEST(AtomicWrite, AWriterThatGivesUpLeavesTheOldContent) {
  const TestFolder folder;
  ASSERT_TRUE(write_file_atomically(files, folder / "a", "old").ok());
  const Status status = write_file_atomically(files, folder / "a", [](WritableFile&) -> Status { return Error{ErrorCode::kBadData, "no"}; });
  EXPECT_EQ(status.error().message, "no");
  EXPECT_EQ(files.read(folder / "a").value(), "old");
  EXPECT_EQ(files.list(folder.path()).value().size(), 1u);
}

TEST(FaultyFileSystem, FailsTheNthOfAKindAndTearsTheWrite) {
  const TestFolder folder;
  FaultyFileSystem faulty(files);
  faulty.fail(FileOperation::kWrite, 1, ENOSPC);
  auto file = faulty.create(folder / "a");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->write(std::as_bytes(std::span("1234", 4))).ok());
  EXPECT_NE((*file)->write(std::as_bytes(std::span("5678", 4))).error().message.find("No space left"), std::string::npos);
  ASSERT_TRUE((*file)->close().ok());
  EXPECT_EQ(files.read(folder / "a").value(), "123456");
  EXPECT_EQ(faulty.count(FileOperation::kWrite), 2u);
}

}  // namespace
}  // namespace evolora
