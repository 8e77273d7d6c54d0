// Schedules as MLX evaluates them: parameters are rounded to fp32 where MLX mixes them with an array, sums and products are fp32.
#include "train/learning_rate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "base/suggest.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;
using Function = std::function<float(std::int64_t)>;

Error wrong_schedule(std::string message) { return Error{ErrorCode::kUsage, "lr_schedule: " + std::move(message)}; }

Function linear(double init, double end, std::int64_t steps) {
  const auto slope = static_cast<float>((end - init) / static_cast<double>(steps));
  const auto start = static_cast<float>(init);
  return [slope, start, steps](std::int64_t step) { return static_cast<float>(std::min(step, steps)) * slope + start; };
}

Function cosine(double init, std::int64_t steps, double end) {
  const auto angle = static_cast<float>(std::numbers::pi / static_cast<double>(steps));
  const auto low = static_cast<float>(end);
  const auto range = static_cast<float>(init - end);
  return [angle, low, range, steps](std::int64_t step) {
    const float decay = 0.5F * (1.0F + std::cos(angle * static_cast<float>(std::min(step, steps))));
    return low + decay * range;
  };
}

Function exponential(double init, double rate, std::int64_t step_size) {
  const auto start = static_cast<float>(init);
  const auto base = static_cast<float>(rate);
  return [start, base, step_size](std::int64_t step) { return start * std::pow(base, static_cast<float>(step / step_size)); };
}

struct Shape {
  const char* name;
  std::size_t required;
  std::size_t allowed;
  int steps_argument;  // index of the argument that is a whole number of steps; -1: none
  const char* usage;
};
constexpr Shape kShapes[] = {
    {"exponential_decay", 2, 2, -1, "[init, decay_rate]"},
    {"step_decay", 3, 3, 2, "[init, decay_rate, step_size]"},
    {"cosine_decay", 2, 3, 1, "[init, decay_steps, end = 0]"},
    {"linear_schedule", 3, 3, 2, "[init, end, steps]"},
};

Result<const Shape*> find_shape(const Json& schedule) {
  if (!schedule.contains("name") || !schedule["name"].is_string()) return wrong_schedule("needs 'name', a schedule's name such as cosine_decay");
  const std::string name = schedule["name"].get<std::string>();
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) {
    if (name == shape.name) return &shape;
    names.emplace_back(shape.name);
  }
  return wrong_schedule(fmt::format("unknown schedule '{}'{}", name, did_you_mean(name, names)));
}

Status check_arguments(const Shape& shape, const Json& schedule) {
  const auto wrong = [&] { return wrong_schedule(fmt::format("{} needs arguments: {}", shape.name, shape.usage)); };
  if (!schedule.contains("arguments") || !schedule["arguments"].is_array()) return wrong();
  const Json& arguments = schedule["arguments"];
  if (arguments.size() < shape.required || arguments.size() > shape.allowed) return wrong();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (!arguments[i].is_number() || !std::isfinite(arguments[i].get<double>())) return wrong();
    const bool is_steps = static_cast<int>(i) == shape.steps_argument;
    if (is_steps && (!arguments[i].is_number_integer() || arguments[i].get<std::int64_t>() < 1)) return wrong();
  }
  return {};
}

Function build(const Shape& shape, const Json& arguments) {
  const std::string name = shape.name;
  const double init = arguments[0].get<double>();
  if (name == "exponential_decay") return exponential(init, arguments[1].get<double>(), 1);
  if (name == "step_decay") return exponential(init, arguments[1].get<double>(), arguments[2].get<std::int64_t>());
  if (name == "cosine_decay") return cosine(init, arguments[1].get<std::int64_t>(), arguments.size() > 2 ? arguments[2].get<double>() : 0.0);
  return linear(init, arguments[1].get<double>(), arguments[2].get<std::int64_t>());
}

}  // namespace

LearningRate LearningRate::constant(double value) {
  return LearningRate([rate = static_cast<float>(value)](std::int64_t) { return rate; });
}

Result<LearningRate> LearningRate::from_schedule(const Json& schedule) {
  if (!schedule.is_object()) return wrong_schedule("expected a block with name and arguments");
  const std::vector<std::string> known = {"name", "arguments", "warmup", "warmup_init"};
  for (const auto& [key, value] : schedule.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      return wrong_schedule(fmt::format("unknown key '{}'{}", key, did_you_mean(key, known)));
  }
  const Shape* shape = TRY(find_shape(schedule));
  TRY(check_arguments(*shape, schedule));
  const Json& arguments = schedule["arguments"];
  Function after = build(*shape, arguments);

  const Json warmup = schedule.value("warmup", Json(0));
  const Json warmup_init = schedule.value("warmup_init", Json(0.0));
  if (!warmup.is_number_integer() || warmup.get<std::int64_t>() < 0) return wrong_schedule("warmup must be a whole number of updates, 0 or more");
  if (!warmup_init.is_number()) return wrong_schedule("warmup_init must be a number");
  const auto warmup_steps = warmup.get<std::int64_t>();
  if (warmup_steps == 0) return LearningRate(std::move(after));

  // The peak itself is the last value of the warm-up, so what follows starts one update later.
  Function rise = linear(warmup_init.get<double>(), arguments[0].get<double>(), warmup_steps);
  const std::int64_t boundary = warmup_steps + 1;
  return LearningRate([rise, after, boundary](std::int64_t step) { return step < boundary ? rise(step) : after(step - boundary); });
}

}  // namespace evolora
