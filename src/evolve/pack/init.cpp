// Texts with a few places to fill in.
#include "evolve/pack/init.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/suggest.h"
#include "evolve/judge/mlx/mlx_slots.h"
#include "evolve/pack/pack_parameters.h"
#include "evolve/pack/starting_packs.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {
namespace {

Result<const StartingPack*> find_pack(const EvolveFolderRequest& request) {
  std::vector<std::string> targets, names;
  for (const StartingPack& pack : starting_packs()) {
    if (targets.empty() || targets.back() != pack.target) targets.push_back(pack.target);
    if (pack.target == request.target) names.push_back(pack.name);
  }
  if (names.empty()) return Error{ErrorCode::kUsage, fmt::format("--target: expected {}, got '{}'", fmt::join(targets, " or "), request.target)};
  const std::string name = request.target == "cpu" && request.slot == "lora_linear" ? "lora_linear_group" : request.slot;
  for (const StartingPack& pack : starting_packs()) {
    if (pack.target == request.target && pack.name == name) return &pack;
  }
  return Error{ErrorCode::kUsage,
               fmt::format("--slot: expected one of {}, got '{}'{}", fmt::join(names, ", "), request.slot, did_you_mean(request.slot, names))};
}

std::string values_of(const Gene& gene) {
  switch (gene.kind) {
    case GeneKind::kBoolean: return "true, false";
    case GeneKind::kInteger: return fmt::format("{} to {}", gene.low, gene.high);
    case GeneKind::kLogInteger: return fmt::format("{} to {}, logarithmic", gene.low, gene.high);
    case GeneKind::kChoice: break;
  }
  std::string text;
  for (const auto& choice : gene.choices) text += (text.empty() ? "" : ", ") + choice.dump();
  return text;
}

constexpr const char* kConfiguration =
    R"(# Settings of a search with a language model: evolora evolve run --llm evolve.yaml. Without --llm the parameters are tuned, offline.
max_iterations: 100
random_seed: 1
llm:
  # Any OpenAI-compatible endpoint. A key is never written here: name the environment variable that has it.
  api_base: http://127.0.0.1:8080/v1
  # api_key_env: OPENAI_API_KEY
  name: local-model
  max_tokens: 4096
budget:
  tokens: 1000000
)";

constexpr const char* kReadme = R"(# Evolving {name}

`pack/` is a kernel pack for `{target}`: C++{api} that takes the place of {engine} own {slots}.
It works as it is, and is the baseline of the search.

```
evolora evolve run --pack {folder}/pack --kernels-only --out {folder}/kernels
evolora evolve run --pack {folder}/pack --model {model} --data {data} --out {folder}/trained
evolora evolve run --pack {folder}/pack --model {model} --data {data} --out {folder}/asked --llm {folder}/evolve.yaml
evolora evolve best {folder}/trained --export {folder}/best
```

The first tunes the parameters and measures kernels alone, the second trains with what is better as well, the third asks a language model for code
(`evolve.yaml`), the fourth writes the best confirmed pack, if there is one. One program of yours is judged, once, by

```
evolora judge {folder}/pack/{file} --pack {folder}/pack
```

where a changed copy of that file takes its place (here it is the pack against itself).
`recipe.json` names the pack for a training run of your own; a pack is code that runs with your rights, so run only what you have read
or the judge has seen:

```
evolora train --train {flags}--model {model} --data {data} --recipe {folder}/recipe.json
```

## What may change
Only lines between `EVOLVE-BLOCK-START` and `EVOLVE-BLOCK-END` in {files}. What the functions get and must give is in `{header}`, which
the program puts beside the sources when it compiles them. {judged}

## Parameters
{parameters})";

constexpr const char* kCpuJudged =
    R"(A candidate must compile, agree with the reference within the rounding of fp32 for every
weight format and odd shape, forward and backward, give the same bits for any number of threads, and be faster in pairs of measurements.)";

constexpr const char* kMlxJudged =
    R"(A candidate must compile, agree forward and backward with loops in fp64 for every
weight format and type and odd shapes, give the same bits in every run, and need less memory (`--objective speed`: be faster) in pairs of
measurements, each in a fresh process.)";

std::string parameter_table(const std::vector<PackParameter>& parameters) {
  if (parameters.empty()) return "None.\n";
  std::string text = "| name | value | may be |\n|---|---|---|\n";
  for (const PackParameter& p : parameters) text += fmt::format("| {} | {} | {} |\n", p.gene.name, p.value.dump(), values_of(p.gene));
  return text + "\nA line like `constexpr int kRows = 6;  // evolve: int 1..12` in a block declares one.\n";
}

Result<std::string> readme(const StartingPack& pack, const fs::path& folder, const EvolveFolderRequest& request) {
  const auto json = nlohmann::ordered_json::parse(pack.files.at(kPackManifest));
  const PackManifest manifest = TRY(manifest_from_json(json, pack.name));
  PackSources sources = pack.files;
  sources.erase(kPackManifest);
  const std::vector<PackParameter> parameters = TRY(pack_parameters(sources));
  const bool mlx = manifest.target == PackTarget::kMlx;
  const std::string flags = training_flags(manifest);
  return fmt::format(
      kReadme, fmt::arg("name", pack.name), fmt::arg("target", pack.target), fmt::arg("api", mlx ? " on MLX's array API" : ""),
      fmt::arg("engine", mlx ? "the MLX engine's" : "the program's"), fmt::arg("slots", fmt::format("{}", fmt::join(manifest.slots, " and "))),
      fmt::arg("folder", folder.string()), fmt::arg("file", manifest.files.front()), fmt::arg("flags", flags.empty() ? flags : flags + " "),
      fmt::arg("model", request.model.empty() ? "MODEL" : request.model), fmt::arg("data", request.data.empty() ? "DATA" : request.data),
      fmt::arg("files", fmt::format("`{}`", fmt::join(manifest.files, "`, `"))), fmt::arg("header", mlx ? "evolora_mlx_pack.h" : "evolora_pack.h"),
      fmt::arg("judged", mlx ? kMlxJudged : kCpuJudged), fmt::arg("parameters", parameter_table(parameters)));
}

}  // namespace

Status init_evolve_folder(FileSystem& files, const fs::path& folder, const EvolveFolderRequest& request) {
  const StartingPack* pack = TRY(find_pack(request));
  if (files.exists(folder)) {
    if (!TRY(files.list(folder)).empty())
      return Error{ErrorCode::kUsage, fmt::format("{}: expected a new or empty folder, got one with files in it; name another", folder.string())};
  }
  const std::string text = TRY(readme(*pack, folder, request));
  TRY(files.create_directories(folder / "pack"));
  for (const auto& [name, content] : pack->files) TRY(write_file_atomically(files, folder / "pack" / name, content));
  TRY(write_file_atomically(files, folder / "recipe.json", "{\"pack\": \"pack\"}\n"));
  TRY(write_file_atomically(files, folder / "evolve.yaml", kConfiguration));
  return write_file_atomically(files, folder / "README.md", text);
}

std::string training_flags(const PackManifest& manifest) {
  if (manifest.target != PackTarget::kMlx) return "";
  return fmt::format("--engine mlx --fine-tune-type {}", fine_tune_type(manifest.serves(mlx_slot(true))));
}

}  // namespace evolora
