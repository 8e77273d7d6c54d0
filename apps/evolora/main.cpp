// The evolora program: picks the command, parses flags, prints errors as one line and turns them into exit codes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/suggest.h"
#include "command.h"

namespace evolora {
namespace {

int fail(const Error& error) {
  std::string line = error.message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fflush(stdout);
  fmt::print(stderr, "evolora: error: {}\n", line);
  return error_exit_status(error.code);
}

// Text that a full disk swallowed must not look like success.
int finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  return fail({ErrorCode::kIo, "standard output: cannot write all of it; is the disk full?"});
}

std::vector<std::string> long_flags(const CLI::App& flags) {
  std::vector<std::string> names;
  for (const CLI::Option* option : flags.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// Words the parser did not understand become an error that names the first one and the nearest flag.
Status check_leftovers(const CLI::App& program, const CLI::App& flags) {
  std::vector<std::string> words = flags.remaining();
  if (words.empty()) words = program.remaining();
  if (words.empty()) return {};
  const bool is_flag = words.front().starts_with("-") && words.front() != "--";
  const std::string word = words.front().substr(0, words.front().find('='));
  const bool is_nested = flags.get_parent() != nullptr && flags.get_parent() != &program;
  const std::string command = is_nested ? flags.get_parent()->get_name() + " " + flags.get_name() : flags.get_name();
  if (!is_flag) return Error{ErrorCode::kUsage, fmt::format("unexpected argument '{}'; see 'evolora {} --help'", words.front(), command)};
  const std::string hint = did_you_mean(word, long_flags(flags));
  const std::string help = hint.empty() ? fmt::format("; see 'evolora {} --help'", command) : "";
  return Error{ErrorCode::kUsage, fmt::format("unknown flag '{}'{}{}", word, hint, help)};
}

Status check_command_word(const CLI::App& program, const std::vector<Command>& commands) {
  const std::vector<std::string> words = program.remaining();
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.flags->get_name());
  if (words.empty()) return Error{ErrorCode::kUsage, fmt::format("no command given; one of: {} (see 'evolora --help')", fmt::join(names, ", "))};
  const char* kind = words.front().starts_with("-") ? "flag" : "command";
  return Error{ErrorCode::kUsage,
               fmt::format("unknown {} '{}'{} (commands: {})", kind, words.front(), did_you_mean(words.front(), names), fmt::join(names, ", "))};
}

// Flags that CLI11 reads as numbers: its own message says neither what was expected nor why.
Error conversion_error(const CLI::App& program, const std::string& message) {
  const std::size_t name_at = message.find("--");
  const std::size_t equals = message.find(" = ", name_at == std::string::npos ? 0 : name_at);
  if (name_at == std::string::npos || equals == std::string::npos) return {ErrorCode::kUsage, message};
  const std::string name = message.substr(name_at, equals - name_at);
  const std::string value = message.substr(equals + 3);
  for (const CLI::App* command : program.get_subcommands()) {
    const CLI::Option* option = command->get_option_no_throw(name);
    for (const CLI::App* subcommand : command->get_subcommands()) {
      if (option == nullptr) option = subcommand->get_option_no_throw(name);
    }
    if (option == nullptr) continue;
    const std::string type = option->get_type_name();
    const char* expected = type == "UINT" ? "a whole number, 0 or more" : type == "INT" ? "a whole number" : "a number";
    return {ErrorCode::kUsage, fmt::format("{}: expected {}, got '{}'", name, expected, value)};
  }
  return {ErrorCode::kUsage, message};
}

// What the parser does not understand is judged by check_leftovers.
void allow_extras(const Command& command) {
  command.flags->allow_extras();
  for (const Command& subcommand : command.subcommands) allow_extras(subcommand);
}

// The subcommand that was named, else the command itself.
const Command& chosen_command(const Command& command) {
  for (const Command& subcommand : command.subcommands) {
    if (subcommand.flags->parsed()) return subcommand;
  }
  return command;
}

int run_program(int argc, char** argv) {
  CLI::App program("Fine-tunes MLX language models with LoRA on the CPU: fast, small, and with mlx-lm's flags and files.", "evolora");
  program.set_version_flag("--version", "evolora " EVOLORA_VERSION);
  program.allow_extras();
  program.require_subcommand(0, 1);  // what follows a command is never another one: `evolora report bench` means the folder
  const std::vector<Command> commands = {add_fetch_command(program),  add_convert_command(program), add_plan_command(program),
                                         add_train_command(program),  add_eval_command(program),    add_generate_command(program),
                                         add_bench_command(program),  add_evolve_command(program),  add_judge_command(program),
                                         add_report_command(program), add_doctor_command(program)};
  for (const Command& command : commands) allow_extras(command);
  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    const int exit_status = program.exit(done);
    return exit_status != 0 ? exit_status : finish_output();
  } catch (const CLI::ConversionError& error) {
    return fail(conversion_error(program, error.what()));
  } catch (const CLI::ParseError& error) {
    return fail({ErrorCode::kUsage, error.what()});
  }
  for (const Command& command : commands) {
    if (!command.flags->parsed()) continue;
    const Command& chosen = chosen_command(command);
    Status status = check_leftovers(program, *chosen.flags);
    if (status.ok()) status = chosen.run();
    return status.ok() ? finish_output() : fail(status.error());
  }
  return fail(check_command_word(program, commands).error());
}

}  // namespace
}  // namespace evolora

int main(int argc, char** argv) {
  try {
    return evolora::run_program(argc, argv);
  } catch (const std::bad_alloc&) {
    return evolora::fail({evolora::ErrorCode::kTooLarge,
                          "out of memory: the system has no more to give; plan less with --memory-limit, or use smaller batches and samples"});
  } catch (const std::exception& error) {
    return evolora::fail({evolora::ErrorCode::kInternal, fmt::format("internal error, please report it: {}", error.what())});
  }
}
