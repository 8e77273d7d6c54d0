// What every command of the program gives to main: its flags (CLI11) and what to do when it is chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "base/result.h"

namespace evolora {

struct Command {
  CLI::App* flags = nullptr;    // owned by the program's CLI::App
  std::function<Status()> run;  // after parsing; prints its results, returns errors for main to print
};

Command add_train_command(CLI::App& program);
Command add_generate_command(CLI::App& program);
Command add_eval_command(CLI::App& program);
Command add_plan_command(CLI::App& program);
Command add_bench_command(CLI::App& program);
Command add_report_command(CLI::App& program);
Command add_doctor_command(CLI::App& program);
Command add_fetch_command(CLI::App& program);
Command add_convert_command(CLI::App& program);
Command add_evolve_init(CLI::App& evolve);  // a command of `evolora evolve`

// The last value wins when a flag is repeated, as in mlx-lm.
template <typename T>
CLI::Option* add_value(CLI::App& flags, const std::string& names, T& value, const std::string& help) {
  return flags.add_option(names, value, help)->take_last();
}

// --threads of commands that are not training: the range that training flags and recipes have. kUsage.
inline Status check_threads(int threads) {
  if (threads >= 0 && threads <= 1024) return {};
  return Error{ErrorCode::kUsage, "--threads: expected a whole number in [0, 1024], got " + std::to_string(threads)};
}

}  // namespace evolora
