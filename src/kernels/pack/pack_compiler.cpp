// g++ -shared, files before and after.
#include "kernels/pack/pack_compiler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdlib>

#include "base/process.h"
#include "base/sha256.h"

namespace evolora {
namespace {

// The starting packs take two to eight seconds, when the machine has nothing else to do.
constexpr double kCompileSeconds = 120;
constexpr const char* kHeaderFile = "evolora_pack.h";
constexpr const char* kAbiFile = "evolora_pack_abi.cpp";
constexpr const char* kAbiSource = "#include \"evolora_pack.h\"\nint evolora_pack_abi() { return EVOLORA_PACK_ABI; }\n";

std::string first_lines(const std::string& text, std::size_t bytes) {
  std::string out = text.substr(0, bytes);
  for (char& c : out) {
    if (c == '\n') c = '|';
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return out;
}

class DirectCompiler final : public PackCompiler {
 public:
  Result<std::string> fingerprint() override {
    // -### prints what would be run, with -march=native spelled out.
    std::vector<std::string> argv = {pack_compiler_program()};
    for (const std::string& flag : pack_compiler_flags()) argv.push_back(flag);
    for (const char* word : {"-###", "-E", "-x", "c++", "/dev/null"}) argv.emplace_back(word);
    const ProcessResult result = TRY(run(argv));
    if (result.exit_status != 0)
      return Error{ErrorCode::kDependency, fmt::format("{}: expected a C++ compiler, got exit status {}: {}", pack_compiler_program(),
                                                       result.exit_status, first_lines(result.standard_error, 300))};
    return fmt::format("{}\n{}", fmt::join(pack_compiler_flags(), " "), result.standard_error);
  }

  Result<CompileOutcome> compile(const CompileRequest& request) override {
    const ProcessResult result = TRY(run(pack_compiler_command(request)));
    if (result.timed_out) return CompileOutcome{false, fmt::format("the compiler took more than {} seconds", kCompileSeconds)};
    return CompileOutcome{result.exit_status == 0, result.standard_error};
  }

 private:
  static Result<ProcessResult> run(const std::vector<std::string>& argv) {
    auto result = run_process({.argv = argv,
                               .standard_output = ProcessOutput::kDiscard,
                               .standard_error = ProcessOutput::kCapture,
                               .capture_limit_bytes = 64 * 1024,
                               .timeout_seconds = kCompileSeconds});
    if (result.ok()) return result;
    return Error{result.error().code,
                 fmt::format("kernel packs are compiled when they are used: {} (install g++, or set CXX)", result.error().message)};
  }
};

// A library where nothing is missing and nothing is more than the manifest says.
Status check_functions(const PackLibrary& library, const PackManifest& manifest, const std::string& source) {
  const auto check = [&](const char* slot, bool defined) -> Status {
    if (manifest.serves(slot) == defined) return {};
    return Error{ErrorCode::kBadData, fmt::format("{}: slots: {} is {} the list, and the sources {} evolora_{}", source, slot,
                                                  defined ? "not in" : "in", defined ? "define" : "do not define", slot)};
  };
  TRY(check("lora_linear_forward", library.functions().lora_linear_forward != nullptr));
  return check("lora_linear_backward", library.functions().lora_linear_backward != nullptr);
}

}  // namespace

std::string pack_compiler_program() {
  const char* chosen = std::getenv("CXX");
  return chosen != nullptr && *chosen != '\0' ? chosen : "g++";
}

std::vector<std::string> pack_compiler_flags() {
  // Contraction leaves one rounding of a product and a sum away, so the bounds of the contracts, which count both, hold. -ffast-math would also
  // allow reciprocals and drop NaN, which they do not.
  return {"-std=c++20",
          "-O3",
          "-march=native",
          "-ffp-contract=fast",
          "-fPIC",
          "-shared",
          "-nostartfiles",
          "-fvisibility=hidden",
          "-fno-exceptions",
          "-fno-rtti",
          "-Wl,-z,defs",
          "-fmax-errors=5",
          "-fdiagnostics-color=never",
          "-w"};
}

std::vector<std::string> pack_compiler_command(const CompileRequest& request) {
  std::vector<std::string> argv = {pack_compiler_program()};
  for (const std::string& flag : pack_compiler_flags()) argv.push_back(flag);
  argv.insert(argv.end(), {"-I", request.folder.string(), "-o", (request.folder / request.output).string()});
  for (const std::string& file : request.files) argv.push_back((request.folder / file).string());
  return argv;
}

std::unique_ptr<PackCompiler> direct_pack_compiler() { return std::make_unique<DirectCompiler>(); }

Status compile_pack(FileSystem& files, PackCompiler& compiler, const KernelPack& pack, const fs::path& work, const fs::path& output) {
  CompileRequest request{.folder = work, .output = "pack.so"};
  for (const auto& [name, text] : pack.sources) {
    TRY(write_file_atomically(files, work / name, text));
    request.files.push_back(name);
  }
  TRY(write_file_atomically(files, work / kHeaderFile, pack_header_text()));
  TRY(write_file_atomically(files, work / kAbiFile, kAbiSource));
  request.files.emplace_back(kAbiFile);
  const CompileOutcome outcome = TRY(compiler.compile(request));
  if (!outcome.compiled)
    return Error{ErrorCode::kBadData, fmt::format("kernel pack '{}' does not compile: {}", pack.manifest.name, first_lines(outcome.messages, 600))};
  return files.rename(work / request.output, output);
}

Result<fs::path> built_library_path(PackCompiler& compiler, const KernelPack& pack, const fs::path& folder) {
  const std::string fingerprint = TRY(compiler.fingerprint());
  const std::string build = sha256_hex(fmt::format("{}\n{}\n{}", pack.digest(), sha256_hex(pack_header_text()), fingerprint));
  return folder / "build" / (build.substr(0, 32) + ".so");
}

Result<BuiltPack> build_pack(FileSystem& files, PackCompiler& compiler, const fs::path& folder) {
  KernelPack pack = TRY(read_pack(files, folder));
  const fs::path library = TRY(built_library_path(compiler, pack, folder));
  if (!files.exists(library)) {
    // Of this process alone: two runs that compile at the same time both end with a whole library.
    const fs::path work = folder / "build" / fmt::format("{}.{}", library.stem().string().substr(0, 12), ::getpid());
    TRY(files.create_directories(work));
    const Status compiled = compile_pack(files, compiler, pack, work, library);
    TRY(files.remove(work));
    TRY(compiled);
  }
  return BuiltPack{std::move(pack), library};
}

Result<std::shared_ptr<const PackLibrary>> open_pack(FileSystem& files, PackCompiler& compiler, const fs::path& folder) {
  const BuiltPack built = TRY(build_pack(files, compiler, folder));
  std::shared_ptr<const PackLibrary> loaded = TRY(load_pack_library(built.library, built.pack.digest()));
  TRY(check_functions(*loaded, built.pack.manifest, (folder / kPackManifest).string()));
  return loaded;
}

}  // namespace evolora
