// g++ -shared, files before and after.
#include "kernels/pack/pack_compiler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdlib>

#include "base/json.h"
#include "base/process.h"
#include "base/sha256.h"

namespace evolora {
namespace {

// The starting packs take two to eight seconds, when the machine has nothing else to do.
constexpr double kCompileSeconds = 120;
constexpr const char* kAbiFile = "evolora_pack_abi.cpp";

const char* header_file(PackTarget target) { return target == PackTarget::kCpu ? "evolora_pack.h" : "evolora_mlx_pack.h"; }

// Of a pack on MLX: written out, because the header with MLX's own takes a compiler seconds.
const char* abi_source(PackTarget target) {
  if (target == PackTarget::kCpu) return "#include \"evolora_pack.h\"\nint evolora_pack_abi() { return EVOLORA_PACK_ABI; }\n";
  return "#include <mlx/version.h>\n"
         "extern \"C\" __attribute__((visibility(\"default\"))) int evolora_mlx_pack_abi() { return 1; }\n"
         "extern \"C\" __attribute__((visibility(\"default\"))) int evolora_mlx_pack_mlx_version() { return MLX_VERSION_NUMERIC; }\n";
}

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

std::vector<std::string> pack_compiler_flags(PackTarget target) {
  // A pack on MLX computes nothing itself, so nothing is gained by optimising it for long; MLX's headers throw exceptions.
  if (target == PackTarget::kMlx) {
    return {"-std=c++20",
            "-O1",
            "-fPIC",
            "-shared",
            "-nostartfiles",
            "-fvisibility=hidden",
            "-fvisibility-inlines-hidden",
            "-fno-gnu-unique",
            "-Wl,-z,defs",
            "-Wl,-z,relro,-z,now",
            "-fmax-errors=5",
            "-fdiagnostics-color=never",
            "-w"};
  }
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
  for (const std::string& flag : pack_compiler_flags(request.target)) argv.push_back(flag);
  argv.insert(argv.end(), {"-I", request.folder.string(), "-o", (request.folder / request.output).string()});
  for (const std::string& file : request.files) argv.push_back((request.folder / file).string());
  if (request.target == PackTarget::kMlx) {
    // System headers: MLX's own warnings are not the pack's.
    argv.insert(argv.end(), {"-isystem", (request.mlx_folder / "include").string(), (request.mlx_folder / "lib" / "libmlx.so").string()});
  }
  return argv;
}

std::unique_ptr<PackCompiler> direct_pack_compiler() { return std::make_unique<DirectCompiler>(); }

Status compile_pack(FileSystem& files, PackCompiler& compiler, const KernelPack& pack, const fs::path& work, const fs::path& output) {
  const PackTarget target = pack.manifest.target;
  CompileRequest request{.target = target, .folder = work, .output = "pack.so"};
  if (target == PackTarget::kMlx) request.mlx_folder = TRY(mlx_folder_of_packs());
  for (const auto& [name, text] : pack.sources) {
    TRY(write_file_atomically(files, work / name, text));
    request.files.push_back(name);
  }
  TRY(write_file_atomically(files, work / header_file(target), pack_header_text(target)));
  TRY(write_file_atomically(files, work / kAbiFile, abi_source(target)));
  request.files.emplace_back(kAbiFile);
  const CompileOutcome outcome = TRY(compiler.compile(request));
  if (!outcome.compiled)
    return Error{ErrorCode::kBadData, fmt::format("kernel pack '{}' does not compile: {}", pack.manifest.name, first_lines(outcome.messages, 600))};
  return files.rename(work / request.output, output);
}

Result<fs::path> built_library_path(PackCompiler& compiler, const KernelPack& pack, const fs::path& folder) {
  const PackTarget target = pack.manifest.target;
  std::string fingerprint = TRY(compiler.fingerprint());
  if (target == PackTarget::kMlx) {
    const fs::path mlx = TRY(mlx_folder_of_packs());
    const std::string version = TRY(real_file_system().read(mlx / "include" / "mlx" / "version.h"));
    fingerprint += fmt::format("\n{}\n{}\n{}", fmt::join(pack_compiler_flags(target), " "), mlx.string(), version);
  }
  const std::string build = sha256_hex(fmt::format("{}\n{}\n{}", pack.digest(), sha256_hex(pack_header_text(target)), fingerprint));
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

Result<fs::path> mlx_folder_of_packs() {
  const char* chosen = std::getenv("EVOLORA_MLX_FOLDER");
  const fs::path folder = chosen != nullptr && *chosen != '\0' ? chosen : EVOLORA_MLX_FOLDER;
  std::error_code ignored;
  for (const fs::path& part : {folder / "include" / "mlx" / "version.h", folder / "lib" / "libmlx.so"}) {
    if (fs::exists(part, ignored)) continue;
    return Error{ErrorCode::kDependency,
                 fmt::format("kernel packs for mlx are compiled against MLX: {} does not exist; run tools/bootstrap.sh build, or "
                             "set EVOLORA_MLX_FOLDER to the folder mlx of its wheel",
                             part.string())};
  }
  return fs::absolute(folder).lexically_normal();
}

Status check_pack_target(FileSystem& files, const fs::path& folder, PackTarget target) {
  const fs::path path = folder / kPackManifest;
  if (!files.exists(path)) return {};  // read_pack says so
  const nlohmann::ordered_json json = TRY(read_settings_object(files, path));
  const PackManifest manifest = TRY(manifest_from_json(json, path.string()));
  if (manifest.target == target) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("{}: target: expected \"{}\", got \"{}\": {}", path.string(), word(target), word(manifest.target),
                           target == PackTarget::kCpu ? "packs for mlx run with --engine mlx" : "--engine mlx runs packs for mlx")};
}

Result<std::shared_ptr<const PackLibrary>> open_pack(FileSystem& files, PackCompiler& compiler, const fs::path& folder) {
  TRY(check_pack_target(files, folder, PackTarget::kCpu));
  const BuiltPack built = TRY(build_pack(files, compiler, folder));
  std::shared_ptr<const PackLibrary> loaded = TRY(load_pack_library(built.library, built.pack.digest()));
  TRY(check_functions(*loaded, built.pack.manifest, (folder / kPackManifest).string()));
  return loaded;
}

}  // namespace evolora
