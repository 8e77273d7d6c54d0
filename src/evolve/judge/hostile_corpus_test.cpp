// The corpus of tests/hostile_packs against the walls: every file with the static rules, and without them through a sandboxed compiler, the look at
// the library, and the numerics gate in a sandboxed worker. Each must end at a gate that its first lines name, and leave nothing behind.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "base/test_folder.h"
#include "evolve/judge/artifact_text.h"
#include "evolve/judge/library_check.h"
#include "evolve/judge/numerics_gate.h"
#include "evolve/judge/worker_runner.h"
#include "evolve/sandbox/sandbox.h"
#include "kernels/pack/pack_compiler.h"
#include "kernels/pack/pack_rules.h"

namespace evolora {
namespace {

constexpr const char* kCanary = "canary-5f1e9b77c0";  // in this process's environment; must come out nowhere

fs::path corpus() { return fs::path(EVOLORA_SOURCE_DIR) / "tests" / "hostile_packs"; }

std::string text_of(const std::string& name) {
  auto text = real_file_system().read(corpus() / name);
  EXPECT_TRUE(text.ok()) << name;
  return text.ok() ? *text : "";
}

std::vector<std::string> hostile_names() {
  const auto names = real_file_system().list(corpus());
  std::vector<std::string> out;
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    if (name.ends_with(".cpp")) out.push_back(name);
  }
  return out;
}

// The gates after "KEY: " in the file's first lines, which are divided by |.
std::set<std::string> gates(const std::string& text, const std::string& key) {
  const std::string begin = "// " + key + ": ";
  const std::size_t at = text.find(begin);
  if (at == std::string::npos || at > 200) return {};
  std::set<std::string> out;
  std::string line = text.substr(at + begin.size(), text.find('\n', at) - at - begin.size()) + "|";
  for (std::size_t bar = line.find('|'); bar != std::string::npos; bar = line.find('|')) {
    out.insert(line.substr(0, bar));
    line.erase(0, bar + 1);
  }
  return out;
}

// Listens where hostile code would call: any contact is seen.
class Listeners {
 public:
  Listeners() {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT_EQ(0, ::bind(tcp_, reinterpret_cast<const sockaddr*>(&at), sizeof at));
    socklen_t size = sizeof at;
    ::getsockname(tcp_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    udp_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ::bind(udp_, reinterpret_cast<const sockaddr*>(&at), sizeof at);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path + 1, "evolora_hostile", 15);
    abstract_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ::bind(abstract_, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    for (const int fd : {tcp_, abstract_}) ::listen(fd, 8);
  }
  ~Listeners() {
    for (const int fd : {tcp_, udp_, abstract_}) ::close(fd);
  }
  Listeners(const Listeners&) = delete;
  Listeners& operator=(const Listeners&) = delete;
  int port() const { return port_; }
  bool heard_anything() const {
    char byte = 0;
    return ::accept(tcp_, nullptr, nullptr) >= 0 || ::accept(abstract_, nullptr, nullptr) >= 0 || ::recv(udp_, &byte, 1, 0) >= 0;
  }

 private:
  int tcp_ = -1, udp_ = -1, abstract_ = -1;
  int port_ = 0;
};

// Where something of a hostile candidate would be found.
std::vector<std::string> traces() {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const char* folder : {"/tmp", "/var/tmp", "/dev/shm", "/root", "/root/.ssh", "/home", "/", ".", ".."}) {
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.path().filename().string().find("evolora_hostile") != std::string::npos) found.push_back(entry.path().string());
    }
  }
  const char* home = std::getenv("HOME");
  for (const auto& entry : fs::directory_iterator(home == nullptr ? "/nonexistent" : home, ignored)) {
    if (entry.path().filename().string().find("evolora_hostile") != std::string::npos) found.push_back(entry.path().string());
  }
  return found;
}

std::vector<std::string> processes_that_name(const std::string& word) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const int fd = ::open((entry.path() / "cmdline").c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    std::string line(4096, '\0');
    const ssize_t n = ::read(fd, line.data(), line.size());
    ::close(fd);
    line.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (line.find(word) != std::string::npos) found.push_back(entry.path().filename().string());
  }
  return found;
}

struct End {
  std::string gate;  // "compile", "crash", "timeout", "numerics", "determinism", or "harmless": nothing found and nothing done
  std::string words;
};

class HostileCorpus : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
    ::setenv("EVOLORA_TEST_API_KEY", kCanary, 1);
  }
  void TearDown() override { ::unsetenv("EVOLORA_TEST_API_KEY"); }

  // As the judge compiles, at -O1 and with less patience.
  End compile(const fs::path& folder, const std::string& source, int port) {
    EXPECT_TRUE(real_file_system().create_directories(folder).ok());
    write_test_file(folder / "kernel.cpp", source);
    write_test_file(folder / "evolora_pack.h", pack_header_text());
    SandboxRequest request;
    request.argv = {"/usr/bin/g++",
                    "-std=c++20",
                    "-O1",
                    "-w",
                    "-march=native",
                    "-fPIC",
                    "-shared",
                    "-nostartfiles",
                    "-fmax-errors=5",
                    "-Wl,-z,defs",
                    fmt::format("-DEVOLORA_HOSTILE_PORT={}", port),
                    "-I",
                    folder.string(),
                    "-o",
                    (folder / "kernel.so").string(),
                    (folder / "kernel.cpp").string()};
    request.environment = {{"PATH", "/usr/bin"}, {"LC_ALL", "C"}, {"TMPDIR", "/tmp"}};
    request.root = SandboxRoot::kSystem;
    request.mounts = {{folder, SandboxMount::Access::kWrite}};
    request.folder = folder;
    request.system_calls = SystemCalls::kCompiler;
    request.limits = {.wall_seconds = 6, .cpu_seconds = 5, .address_space_bytes = std::size_t{1} << 30};
    const auto result = run_sandboxed(request, Isolation::kSandbox, nullptr);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    if (!result.ok() || result->exit_status != 0) return {"compile", result.ok() ? result->standard_error : ""};
    const auto library = real_file_system().read(folder / "kernel.so");
    if (!library.ok()) return {"compile", library.error().message};
    const auto problem = library_problem(std::as_bytes(std::span(*library)));
    return problem.has_value() ? End{"compile", *problem} : End{};
  }

  static End run(const fs::path& library, NumericsSuite& suite, double call_seconds) {
    WorkerOptions options;
    options.call_seconds = call_seconds;
    auto runner = WorkerRunner::start(library, options);
    if (!runner.ok()) {
      EXPECT_EQ(runner.error().code, ErrorCode::kBadData) << runner.error().message;
      return broken(runner.error().message);
    }
    const auto result = suite.judge(**runner);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    if (!result.ok()) return {"error", result.error().message};
    if (result->passed) return {"harmless", ""};
    const End end = broken(result->reason);
    return end.gate == "numerics" ? End{result->gate, result->reason} : end;
  }

  // Which of the ways to end a worker the words name.
  static End broken(const std::string& words) {
    const auto has = [&](const char* word) { return words.find(word) != std::string::npos; };
    if (has("did not answer within")) return {"timeout", words};
    if (has("ended") || has("signal") || has("does not load") || has("cannot be loaded") || has("workspace") || has("answer"))
      return {"crash", words};
    return {"numerics", words};
  }

  static void expect_clean(const std::string& words) {
    EXPECT_EQ(words.find(kCanary), std::string::npos);
    EXPECT_EQ(words.find("root:x:"), std::string::npos);
    EXPECT_EQ(artifact_text(words).find("EVOLVE-BLOCK"), std::string::npos);
    EXPECT_LE(artifact_text(words).size(), kArtifactBytes);
  }
  TestFolder folder_;
};

TEST(HostileCorpusText, HasAtLeastFortyFilesThatSayWhatTheyExpect) {
  const std::vector<std::string> names = hostile_names();
  EXPECT_GE(names.size(), 40U);
  for (const std::string& name : names) {
    const std::string text = text_of(name);
    EXPECT_FALSE(gates(text, "expect").empty()) << name;
    EXPECT_FALSE(gates(text, "without rules").empty()) << name;
  }
}

TEST(HostileCorpusText, RulesRefuseWhatTheyAreSaidTo) {
  for (const std::string& name : hostile_names()) {
    const std::string text = text_of(name);
    const Status status = check_pack_source(text + text_of("honest_kernel.inc"), name);
    EXPECT_EQ(gates(text, "expect").contains("rules"), !status.ok()) << name << ": " << (status.ok() ? "passes the rules" : status.error().message);
  }
  EXPECT_TRUE(
      check_pack_source("#include \"evolora_pack.h\"\n#include <cstring>\nusing std::memcpy;\n" + text_of("honest_kernel.inc"), "honest").ok());
}

TEST_F(HostileCorpus, EveryFileEndsWhereItSaysAndLeavesNothingBehind) {
  const Listeners listeners;
  const std::vector<std::string> before = traces();
  const std::vector<std::string> names = hostile_names();
  const std::string honest = text_of("honest_kernel.inc");
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  const auto work = [&] {
    NumericsSuite suite(7);
    for (std::size_t i = next++; i < names.size(); i = next++) {
      const std::string text = text_of(names[i]);
      const fs::path folder = folder_ / names[i];
      End end = compile(folder, text + honest, listeners.port());
      if (end.gate.empty()) end = run(folder / "kernel.so", suite, 1);
      const std::lock_guard lock(mutex);
      const std::set<std::string> expected = gates(text, "without rules");
      // What only the shapes of a model show passes here.
      const bool later = end.gate == "harmless" && expected.contains("microbenchmark");
      EXPECT_TRUE(later || expected.contains(end.gate)) << names[i] << ": ended at " << end.gate << ": " << artifact_text(end.words, 300);
      expect_clean(end.words);
    }
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(traces(), before);
  EXPECT_FALSE(listeners.heard_anything());
  EXPECT_EQ(processes_that_name(folder_.path().string()), std::vector<std::string>());
}

// At most 1 % of honest packs may be refused; of these, none.
TEST_F(HostileCorpus, FiftyHonestVariantsPass) {
  std::vector<std::string> variants;
  for (const int rows : {1, 2, 3, 5, 7, 8, 16, 17, 32, 33, 64, 100, 256}) {
    for (const char* sums : {"float", "double"}) {
      for (const char* more : {"", "#define WORKSPACE_BYTES(honest) ((honest) + 4096)\n"}) {
        variants.push_back(
            fmt::format("#include \"evolora_pack.h\"\n#include <cstring>\n#define TASK_ROWS {}\n#define SUM_TYPE {}\n{}", rows, sums, more));
      }
    }
  }
  ASSERT_GE(variants.size(), 50U);
  const std::string honest = text_of("honest_kernel.inc");
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  const auto work = [&] {
    NumericsSuite suite(7);
    for (std::size_t i = next++; i < variants.size(); i = next++) {
      const fs::path folder = folder_ / std::to_string(i);
      End end = compile(folder, variants[i] + honest, 9);
      if (end.gate.empty()) end = run(folder / "kernel.so", suite, 10);
      const std::lock_guard lock(mutex);
      EXPECT_EQ(end.gate, "harmless") << variants[i] << end.words;
    }
  };
  std::thread other(work);
  work();
  other.join();
}

}  // namespace
}  // namespace evolora
