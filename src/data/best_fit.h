// Best-fit decreasing bin packing: the longest item first, each into the fullest bin that still has room for it. Uses at most 11/9 of the fewest
// possible bins plus one (Johnson 1973, "Near-optimal bin packing algorithms", MIT); with many short items hardly more than the fewest.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace evolora {

using Bins = std::vector<std::vector<std::size_t>>;  // indices of the items, in the order they were put in

// Items in order of falling length; equally long ones in the order of `order`, a permutation of all indices.
// An item longer than capacity has a bin of its own. How many bins there are and how full each is depends on the lengths alone, not on the order.
Bins pack_best_fit(std::span<const std::int64_t> lengths, std::int64_t capacity, std::vector<std::size_t> order);
Bins pack_best_fit(std::span<const std::int64_t> lengths, std::int64_t capacity);

// The longest item first, each into the emptiest of bin_count bins (Graham 1969, "Bounds on multiprocessing timing anomalies"): bins of nearly equal
// sums. Bins may be empty.
Bins pack_evenly(std::span<const std::int64_t> lengths, std::size_t bin_count);

// The largest sum of a bin.
std::int64_t largest_bin(std::span<const std::int64_t> lengths, const Bins& bins);

}  // namespace evolora
