// The command of the direct compiler, run through run_sandboxed, and what it is used for outside of the gates.
#include "evolve/judge/sandbox_compiler.h"

#include <fmt/format.h>

namespace evolora {
namespace {

// Three times what the starting packs take on a busy machine; template and macro bombs end here or at the memory limit.
constexpr double kWallSeconds = 60;
constexpr std::size_t kMemoryBytes = std::size_t{3} << 30;

// The compiler as an absolute path below /usr, which is all that the sandbox shows.
Result<std::string> compiler_path() {
  const std::string program = pack_compiler_program();
  if (program.starts_with("/usr/")) return program;
  for (const char* folder : {"/usr/bin", "/usr/local/bin"}) {
    std::error_code ignored;
    const fs::path path = fs::path(folder) / program;
    if (program.find('/') == std::string::npos && fs::exists(path, ignored)) return path.string();
  }
  return Error{
      ErrorCode::kDependency,
      fmt::format("CXX: '{}' is not a program below /usr, and packs that nobody read are compiled in a sandbox that shows only that", program)};
}

class SandboxedCompiler final : public PackCompiler {
 public:
  SandboxedCompiler(Isolation isolation, const std::atomic<bool>* stop) : isolation_(isolation), stop_(stop) {}

  Result<std::string> fingerprint() override { return direct_pack_compiler()->fingerprint(); }

  Result<CompileOutcome> compile(const CompileRequest& request) override {
    SandboxRequest sandbox;
    sandbox.argv = pack_compiler_command(request);
    sandbox.argv[0] = TRY(compiler_path());
    sandbox.environment = {{"PATH", "/usr/bin:/bin"}, {"LC_ALL", "C"}, {"TMPDIR", "/tmp"}};
    sandbox.root = SandboxRoot::kSystem;
    sandbox.mounts = {{request.folder, SandboxMount::Access::kWrite}};
    if (request.target == PackTarget::kMlx) {
      for (const char* part : {"include", "lib"}) sandbox.mounts.push_back({request.mlx_folder / part});
    }
    sandbox.folder = request.folder;
    sandbox.system_calls = SystemCalls::kCompiler;
    sandbox.limits.wall_seconds = kWallSeconds;
    sandbox.limits.cpu_seconds = static_cast<std::int64_t>(kWallSeconds);
    sandbox.limits.address_space_bytes = kMemoryBytes;
    sandbox.limits.file_bytes = std::size_t{32} << 20;
    sandbox.limits.tmp_bytes = std::size_t{128} << 20;
    if (isolation_ == Isolation::kNone) sandbox.environment["TMPDIR"] = request.folder.string();
    const SandboxResult result = TRY(run_sandboxed(sandbox, isolation_, stop_));
    if (result.stopped) return CompileOutcome{false, "stopped"};
    if (result.timed_out) return CompileOutcome{false, fmt::format("the compiler took more than {} s", kWallSeconds)};
    std::string words = result.standard_error;
    if (result.exit_status != 0 && words.empty()) words = fmt::format("the compiler ended with status {} and no words", result.exit_status);
    return CompileOutcome{result.exit_status == 0, words};
  }

 private:
  Isolation isolation_;
  const std::atomic<bool>* stop_;
};

}  // namespace

std::unique_ptr<PackCompiler> sandboxed_pack_compiler(Isolation isolation, const std::atomic<bool>* stop) {
  return std::make_unique<SandboxedCompiler>(isolation, stop);
}

Status check_isolation(Isolation isolation) {
  if (isolation == Isolation::kNone) return {};
  const Status available = sandbox_available();
  if (available.ok()) return {};
  return Error{ErrorCode::kDependency, available.error().message + "; without a sandbox no source is run that nobody read"};
}

Result<fs::path> build_baseline(FileSystem& files, const fs::path& folder, Isolation isolation, const std::atomic<bool>* stop) {
  TRY(check_isolation(isolation));
  return TRY(build_pack(files, *sandboxed_pack_compiler(isolation, stop), folder)).library;
}

}  // namespace evolora
