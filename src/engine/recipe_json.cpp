// One table says every field's name and how it is read and written.
#include "engine/recipe_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "base/suggest.h"
#include "kernels/kernel_table.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

template <typename Enum>
using Words = std::vector<std::pair<const char*, Enum>>;

const Words<Recompute> kRecompute = {{"nothing", Recompute::kNothing}, {"mlp", Recompute::kMlp}, {"block", Recompute::kBlock}};
const Words<StorageType> kStorage = {{"fp32", StorageType::kFp32}, {"bf16", StorageType::kBf16}};
const Words<PrefixCache> kPrefix = {{"off", PrefixCache::kOff}, {"memory", PrefixCache::kMemory}, {"file", PrefixCache::kFile}};
const Words<KernelSet> kKernels = {{"cpu", KernelSet::kCpu}, {"reference", KernelSet::kReference}};
const Words<Arithmetic> kForwardArithmetic = {{"fp32", Arithmetic::kFp32}, {"bf16", Arithmetic::kBf16}, {"int8", Arithmetic::kInt8}};
const Words<Arithmetic> kBackwardArithmetic = {{"fp32", Arithmetic::kFp32}, {"bf16", Arithmetic::kBf16}};  // gradients are not made for 8 bits
const Words<bool> kSwitch = {{"off", false}, {"on", true}};
const Words<bool> kWeights = {{"resident", false}, {"released", true}};

template <typename Enum>
const char* word_of(const Words<Enum>& words, Enum value) {
  for (const auto& [name, entry] : words) {
    if (entry == value) return name;
  }
  return "";
}

// One field while it is read.
struct Field {
  const std::string& file;
  const std::string& name;
  const Json& value;

  Error expected(const std::string& what) const {
    return Error{ErrorCode::kUsage, fmt::format("{}: recipe field '{}': expected {}, got {}", file, name, what, value.dump())};
  }

  template <typename Enum>
  Status read(const Words<Enum>& words, std::optional<Enum>& out) const {
    std::vector<std::string> names;
    for (const auto& [word, entry] : words) {
      names.push_back(fmt::format("\"{}\"", word));
      if (value.is_string() && value.get<std::string>() == word) out = entry;
    }
    if (!out) return expected(fmt::format("{}", fmt::join(names, " or ")));
    return {};
  }

  template <typename Integer>
  Status read_count(std::int64_t largest, std::optional<Integer>& out) const {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || value.get<std::int64_t>() > largest) {
      return expected(fmt::format("a whole number from 0 to {}", largest));
    }
    out = static_cast<Integer>(value.get<std::int64_t>());
    return {};
  }
};

std::optional<Slot> slot_of(const std::string& name) {
  for (int i = 0; i < kSlotCount; ++i) {
    if (name == slot_name(static_cast<Slot>(i))) return static_cast<Slot>(i);
  }
  return std::nullopt;
}

std::vector<std::string> slot_names() {
  std::vector<std::string> names;
  for (int i = 0; i < kSlotCount; ++i) names.emplace_back(slot_name(static_cast<Slot>(i)));
  return names;
}

// "cpu", or {"attention": "reference"} with cpu for the slots that are not named.
Status read_kernels(const Field& field, std::optional<SlotKernels>& out) {
  if (!field.value.is_object()) {
    std::optional<KernelSet> all;
    TRY(field.read(kKernels, all));
    out = SlotKernels(*all);
    return {};
  }
  SlotKernels kernels = KernelSet::kCpu;
  for (const auto& [name, value] : field.value.items()) {
    const std::string full = "kernels." + name;
    const std::optional<Slot> slot = slot_of(name);
    if (!slot) {
      return Error{ErrorCode::kUsage,
                   fmt::format("{}: recipe field '{}': there is no such slot{}", field.file, full, did_you_mean(name, slot_names()))};
    }
    std::optional<KernelSet> set;
    TRY((Field{field.file, full, value}.read(kKernels, set)));
    kernels.set(*slot, *set);
  }
  out = kernels;
  return {};
}

Json kernels_to_json(const SlotKernels& kernels) {
  for (const auto& [name, set] : kKernels) {
    if (kernels == SlotKernels(set)) return name;
  }
  Json slots = Json::object();
  for (int i = 0; i < kSlotCount; ++i) {
    const auto slot = static_cast<Slot>(i);
    if (kernels.of(slot) != KernelSet::kCpu) slots[slot_name(slot)] = word_of(kKernels, kernels.of(slot));
  }
  return slots;
}

constexpr std::int64_t kMaxThreads = 1024;
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 32;

struct Row {
  const char* name;
  Status (*read)(const Field&, RecipeChoices&);
  Json (*write)(const Recipe&);
};

const std::vector<Row>& rows() {
  using F = Field;
  using C = RecipeChoices;
  using R = Recipe;
  static const std::vector<Row> table = {
      {"threads", [](const F& f, C& c) -> Status { return f.read_count(kMaxThreads, c.threads); }, [](const R& r) -> Json { return r.threads; }},
      {"kernels", [](const F& f, C& c) -> Status { return read_kernels(f, c.kernels); },
       [](const R& r) -> Json { return kernels_to_json(r.kernels); }},
      {"pack",
       [](const F& f, C& c) -> Status {
         if (!f.value.is_string() || f.value.get<std::string>().empty()) return f.expected("the folder of a kernel pack");
         c.pack = PackChoice{.folder = f.value.get<std::string>(), .library = nullptr};
         return {};
       },
       [](const R& r) -> Json { return r.pack.folder.empty() ? Json() : Json(r.pack.folder); }},
      {"recompute", [](const F& f, C& c) -> Status { return f.read(kRecompute, c.recompute); }, [](const R& r) -> Json { return word(r.recompute); }},
      {"saved_activations", [](const F& f, C& c) -> Status { return f.read(kStorage, c.saved_activations); },
       [](const R& r) -> Json { return word(r.saved_activations); }},
      {"micro_batch_tokens", [](const F& f, C& c) -> Status { return f.read_count(kMaxTokens, c.micro_batch_tokens); },
       [](const R& r) -> Json { return r.micro_batch_tokens; }},
      {"head_rows_per_chunk", [](const F& f, C& c) -> Status { return f.read_count(kMaxTokens, c.head_rows_per_chunk); },
       [](const R& r) -> Json { return r.head_rows_per_chunk; }},
      {"prefix_cache", [](const F& f, C& c) -> Status { return f.read(kPrefix, c.prefix_cache); },
       [](const R& r) -> Json { return word(r.prefix_cache); }},
      {"share_prefixes", [](const F& f, C& c) -> Status { return f.read(kSwitch, c.share_prefixes); },
       [](const R& r) -> Json { return word_of(kSwitch, r.share_prefixes); }},
      {"forward_arithmetic", [](const F& f, C& c) -> Status { return f.read(kForwardArithmetic, c.forward_arithmetic); },
       [](const R& r) -> Json { return arithmetic_name(r.forward_arithmetic); }},
      {"backward_arithmetic", [](const F& f, C& c) -> Status { return f.read(kBackwardArithmetic, c.backward_arithmetic); },
       [](const R& r) -> Json { return arithmetic_name(r.backward_arithmetic); }},
      {"weights", [](const F& f, C& c) -> Status { return f.read(kWeights, c.release_weights); },
       [](const R& r) -> Json { return word_of(kWeights, r.release_weights); }},
      {"mlx",
       [](const F& f, C& c) -> Status {
         c.mlx = TRY(mlx_recipe_from_json(f.value, fmt::format("{}: recipe field {}", f.file, f.name)));
         return {};
       },
       [](const R& r) -> Json { return r.mlx == MlxRecipe() ? Json() : mlx_recipe_to_json(r.mlx); }},
  };
  return table;
}

}  // namespace

const char* word(Recompute value) { return word_of(kRecompute, value); }
const char* word(StorageType value) { return word_of(kStorage, value); }
const char* word(PrefixCache value) { return word_of(kPrefix, value); }

Json recipe_to_json(const Recipe& recipe) {
  Json json;
  for (const Row& row : rows()) {
    Json value = row.write(recipe);
    if (!value.is_null()) json[row.name] = std::move(value);
  }
  return json;
}

Result<RecipeChoices> recipe_from_json(const Json& json, const std::string& name) {
  if (!json.is_object()) return Error{ErrorCode::kUsage, fmt::format("{}: expected a JSON object of recipe fields, got {}", name, json.type_name())};
  RecipeChoices choices;
  for (const auto& [key, value] : json.items()) {
    const auto row = std::find_if(rows().begin(), rows().end(), [&](const Row& r) { return r.name == key; });
    if (row == rows().end()) {
      std::vector<std::string> known;
      for (const Row& r : rows()) known.emplace_back(r.name);
      return Error{ErrorCode::kUsage, fmt::format("{}: unknown recipe field '{}'{}", name, key, did_you_mean(key, known))};
    }
    TRY(row->read({name, key, value}, choices));
  }
  return choices;
}

Result<RecipeChoices> read_recipe(FileSystem& files, const fs::path& path) {
  const Json json = TRY(read_settings_object(files, path));
  RecipeChoices choices = TRY(recipe_from_json(json, path.string()));
  if (choices.pack) choices.pack->folder = (fs::absolute(path).parent_path() / choices.pack->folder).lexically_normal().string();
  return choices;
}

}  // namespace evolora
