// From a pack's sources to a shared library: once per pack, compiler and processor, kept beside the sources.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "kernels/pack/pack_folder.h"
#include "kernels/pack/pack_library.h"

namespace evolora {

// One run of a compiler. folder holds all that is compiled and included; output is in it.
struct CompileRequest {
  PackTarget target = PackTarget::kCpu;
  fs::path mlx_folder;  // of packs for mlx: mlx_folder_of_packs()
  fs::path folder;
  std::vector<std::string> files;  // names in folder
  std::string output;              // name in folder
};

struct CompileOutcome {
  bool compiled = false;
  std::string messages;  // the compiler's, or why it was stopped; untrusted text
};

// Where compilers run: directly, or in a sandbox.
class PackCompiler {
 public:
  virtual ~PackCompiler() = default;
  // What the result depends on besides the sources: compiler, version, flags, processor. Any text. kDependency: there is no compiler.
  virtual Result<std::string> fingerprint() = 0;
  // A pack that does not compile is an outcome; an error is a compiler that could not be started.
  virtual Result<CompileOutcome> compile(const CompileRequest& request) = 0;
};

// The compiler and its flags: $CXX, else g++. What a sandboxed PackCompiler runs as well, in request.folder.
std::string pack_compiler_program();
std::vector<std::string> pack_compiler_flags(PackTarget target = PackTarget::kCpu);
std::vector<std::string> pack_compiler_command(const CompileRequest& request);

// Runs the compiler as this user, with a time limit. For packs that the user chose.
std::unique_ptr<PackCompiler> direct_pack_compiler();

// MLX as packs for it are compiled against: folder/include, folder/lib/libmlx.so and what that one needs in folder/../mlx_cpu.libs.
// $EVOLORA_MLX_FOLDER, else where this program was built. kDependency: it is not there.
Result<fs::path> mlx_folder_of_packs();

// Compiles pack into a new library at output, whose folder must exist: written whole or not at all. What is compiled: the sources, the header of the
// target, and the functions that say its ABI. work: an empty folder for that, of the caller's; it is left as it is at the end. kBadData with the
// compiler's first lines if the pack does not compile or an outcome says so; those of mlx_folder_of_packs; kIo.
Status compile_pack(FileSystem& files, PackCompiler& compiler, const KernelPack& pack, const fs::path& work, const fs::path& output);

// kUsage if the pack in folder is for another target.
Status check_pack_target(FileSystem& files, const fs::path& folder, PackTarget target);

// A pack that has been read, and its library.
struct BuiltPack {
  KernelPack pack;
  fs::path library;
};

// Where build_pack keeps the library of a pack in folder: named by sources, compiler and processor. kDependency: there is no compiler.
Result<fs::path> built_library_path(PackCompiler& compiler, const KernelPack& pack, const fs::path& folder);

// Reads folder, and compiles it unless folder/build has the library for these sources, this compiler and this processor. Errors of both.
Result<BuiltPack> build_pack(FileSystem& files, PackCompiler& compiler, const fs::path& folder);

// build_pack of a pack for cpu, then load_pack_library. Errors of both; kUsage for a pack of another target; also kBadData if the library does not
// define the functions of the slots that pack.json names, or defines others.
Result<std::shared_ptr<const PackLibrary>> open_pack(FileSystem& files, PackCompiler& compiler, const fs::path& folder);

// The text of evolora_pack.h or evolora_mlx_pack.h, as it is in this program.
std::string_view pack_header_text(PackTarget target = PackTarget::kCpu);

}  // namespace evolora
