// "Did you mean ...?": the known word nearest to a misspelt one, for messages about flags and keys.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace evolora {

// Optimal string alignment distance (Damerau-Levenshtein without repeated edits): insertions, deletions, substitutions and swaps of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate at the smallest distance (the first among equals), if it is near enough to be a plausible slip: at most half of the word's letters
// wrong.
// '-' and '_' count as the same letter.
std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> candidates);

// "; did you mean 'nearest'?" or "".
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

}  // namespace evolora
