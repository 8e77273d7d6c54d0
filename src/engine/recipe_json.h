// Recipes as JSON files. Every field may be left out: then it is decided by the planner.
#pragma once

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "engine/recipe.h"

namespace evolora {

nlohmann::ordered_json recipe_to_json(const Recipe& recipe);
// Errors: kUsage "NAME: recipe field 'X': expected ..., got ..." for an unknown field (with the nearest known one), a wrong type or value.
Result<RecipeChoices> recipe_from_json(const nlohmann::ordered_json& json, const std::string& name);
// A kernel pack's folder is named from the file's own folder; the result has it absolute.
Result<RecipeChoices> read_recipe(FileSystem& files, const fs::path& path);

// Words of the enumerations, as in files and flags.
const char* word(Recompute value);
const char* word(StorageType value);
const char* word(PrefixCache value);

}  // namespace evolora
