// Bins ordered by the room that is left, so that each item finds its place in logarithmic time.
#include "data/best_fit.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "base/check.h"

namespace evolora {
namespace {

std::vector<std::size_t> identity(std::size_t count) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  return order;
}

void sort_longest_first(std::span<const std::int64_t> lengths, std::vector<std::size_t>& order) {
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
}

}  // namespace

Bins pack_best_fit(std::span<const std::int64_t> lengths, std::int64_t capacity, std::vector<std::size_t> order) {
  CHECK(order.size() == lengths.size());
  sort_longest_first(lengths, order);
  Bins bins;
  std::set<std::pair<std::int64_t, std::size_t>> room;  // (left, bin); of equally full bins the oldest
  for (const std::size_t item : order) {
    const auto fullest = room.lower_bound({lengths[item], 0});
    std::int64_t left = capacity - lengths[item];
    std::size_t bin = bins.size();
    if (fullest == room.end()) {
      bins.emplace_back();
    } else {
      left = fullest->first - lengths[item];
      bin = fullest->second;
      room.erase(fullest);
    }
    bins[bin].push_back(item);
    if (left > 0) room.insert({left, bin});
  }
  return bins;
}

Bins pack_best_fit(std::span<const std::int64_t> lengths, std::int64_t capacity) {
  return pack_best_fit(lengths, capacity, identity(lengths.size()));
}

Bins pack_evenly(std::span<const std::int64_t> lengths, std::size_t bin_count) {
  CHECK(bin_count > 0);
  std::vector<std::size_t> order = identity(lengths.size());
  sort_longest_first(lengths, order);
  Bins bins(bin_count);
  std::set<std::pair<std::int64_t, std::size_t>> filled;  // (sum, bin)
  for (std::size_t bin = 0; bin < bin_count; ++bin) filled.insert({0, bin});
  for (const std::size_t item : order) {
    const auto [sum, bin] = *filled.begin();
    filled.erase(filled.begin());
    filled.insert({sum + lengths[item], bin});
    bins[bin].push_back(item);
  }
  return bins;
}

std::int64_t largest_bin(std::span<const std::int64_t> lengths, const Bins& bins) {
  std::int64_t largest = 0;
  for (const auto& bin : bins) {
    largest = std::max(largest,
                       std::accumulate(bin.begin(), bin.end(), std::int64_t{0}, [&](std::int64_t sum, std::size_t i) { return sum + lengths[i]; }));
  }
  return largest;
}

}  // namespace evolora
