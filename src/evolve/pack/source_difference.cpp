// Equal ends are cut off; between them a table of common subsequences.
#include "evolve/pack/source_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace evolora {
namespace {

constexpr std::size_t kMostLines = 4000;  // a table of 16 million numbers
constexpr std::size_t kAround = 3;

using Lines = std::vector<std::string_view>;

Lines lines_of(std::string_view text) {
  Lines lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// One line of the result: ' ' both have it, '-' the old text, '+' the new one.
struct Step {
  char kind;
  std::string_view line;
};

std::vector<Step> steps_between(const Lines& a, const Lines& b) {
  std::size_t head = 0, tail = 0;
  const std::size_t shorter = std::min(a.size(), b.size());
  while (head < shorter && a[head] == b[head]) ++head;
  while (tail < shorter - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  const std::size_t n = a.size() - head - tail, m = b.size() - head - tail;
  std::vector<Step> steps;
  for (std::size_t i = 0; i < head; ++i) steps.push_back({' ', a[i]});
  // common[i][j]: length of the longest common subsequence of a[i..] and b[j..] between the ends.
  std::vector<std::vector<std::uint16_t>> common;
  const bool fits = n <= kMostLines && m <= kMostLines;
  if (fits) {
    common.assign(n + 1, std::vector<std::uint16_t>(m + 1, 0));
    for (std::size_t i = n; i-- > 0;) {
      for (std::size_t j = m; j-- > 0;) {
        common[i][j] =
            a[head + i] == b[head + j] ? static_cast<std::uint16_t>(common[i + 1][j + 1] + 1) : std::max(common[i + 1][j], common[i][j + 1]);
      }
    }
  }
  std::size_t i = 0, j = 0;
  while (i < n || j < m) {
    if (fits && i < n && j < m && a[head + i] == b[head + j]) {
      steps.push_back({' ', a[head + i++]});
      ++j;
    } else if (i < n && (!fits || j == m || common[i + 1][j] >= common[i][j + 1])) {
      steps.push_back({'-', a[head + i++]});
    } else {
      steps.push_back({'+', b[head + j++]});
    }
  }
  for (std::size_t k = a.size() - tail; k < a.size(); ++k) steps.push_back({' ', a[k]});
  return steps;
}

std::string hunks_of(const std::vector<Step>& steps) {
  std::vector<bool> shown(steps.size(), false);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].kind == ' ') continue;
    for (std::size_t k = i - std::min(i, kAround); k < std::min(steps.size(), i + kAround + 1); ++k) shown[k] = true;
  }
  std::string out;
  std::size_t old_line = 1, new_line = 1;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (shown[i] && (i == 0 || !shown[i - 1])) {
      std::size_t old_count = 0, new_count = 0;
      for (std::size_t k = i; k < steps.size() && shown[k]; ++k) {
        old_count += steps[k].kind != '+' ? 1 : 0;
        new_count += steps[k].kind != '-' ? 1 : 0;
      }
      out += fmt::format("@@ -{},{} +{},{} @@\n", old_line, old_count, new_line, new_count);
    }
    if (shown[i]) out += fmt::format("{}{}\n", steps[i].kind, steps[i].line);
    old_line += steps[i].kind != '+' ? 1 : 0;
    new_line += steps[i].kind != '-' ? 1 : 0;
  }
  return out;
}

}  // namespace

std::string source_difference(const PackSources& from, const PackSources& to) {
  PackSources all = from;
  all.insert(to.begin(), to.end());
  std::string out;
  for (const auto& [name, ignored] : all) {
    const auto before = from.find(name), after = to.find(name);
    const std::string_view a = before == from.end() ? std::string_view() : before->second;
    const std::string_view b = after == to.end() ? std::string_view() : after->second;
    if (a == b) continue;
    out += fmt::format("--- {}\n+++ {}\n{}", name, name, hunks_of(steps_between(lines_of(a), lines_of(b))));
  }
  return out;
}

}  // namespace evolora
