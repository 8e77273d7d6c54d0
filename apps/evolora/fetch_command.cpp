// `evolora fetch`: gets a known model file into a cache folder, checked against its digest, and prints its path.
#include <fmt/format.h>

#include <cstdlib>

#include "base/file_system.h"
#include "command.h"
#include "formats/fetch.h"

namespace evolora {
namespace {

struct FetchFlags {
  std::string name;
  std::string cache;
};

// Where programs keep what they can get again (XDG base directory specification).
Result<fs::path> default_cache() {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && xdg[0] == '/') return fs::path(xdg) / "evolora";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return fs::path(home) / ".cache" / "evolora";
  return Error{ErrorCode::kUsage, "HOME is not set: name a folder for the model with --cache"};
}

std::string known_names() {
  std::string names;
  for (const KnownModel& model : known_models()) names += (names.empty() ? "" : ", ") + model.name;
  return names;
}

Status run_fetch(const FetchFlags& flags) {
  if (flags.name.empty()) return Error{ErrorCode::kUsage, fmt::format("no model named; known: {}", known_names())};
  const fs::path cache = flags.cache.empty() ? TRY(default_cache()) : fs::path(flags.cache);
  // The path alone goes to standard output, so that scripts can use it.
  const fs::path file =
      TRY(fetch_model(real_file_system(), flags.name, cache, [](std::string_view message) { fmt::print(stderr, "{}\n", message); }));
  fmt::print("{}\n", file.string());
  return {};
}

}  // namespace

Command add_fetch_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("fetch", "Get a known small model (for example smollm2-135m)");
  auto flags = std::make_shared<FetchFlags>();
  add_value(*app, "name", flags->name, fmt::format("One of: {}", known_names()));
  add_value(*app, "--cache", flags->cache, "Folder for the file [~/.cache/evolora]");
  return {app, [flags] { return run_fetch(*flags); }};
}

}  // namespace evolora
