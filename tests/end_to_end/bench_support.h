// For tests of `evolora bench`: the arguments of a short bench, programs that do something else than they are told, the files it leaves.
#pragma once

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "cli_support.h"

namespace evolora {

class CliBench : public CliTest {
 protected:
  std::vector<std::string> bench(const std::vector<std::string>& more, const std::string& out = "bench") const {
    std::vector<std::string> arguments = {"bench", "--model",         path("model"), "--data",       path("data"), "--iters",
                                          "10",    "--num-layers",    "-1",          "--batch-size", "2",          "--val-batches",
                                          "2",     "--learning-rate", "1e-4",        "--out",        path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // A program that is `evolora`, except that the request of a training run goes through a shell command first ($request is the file).
  std::string saboteur(const std::string& name, const std::string& command) {
    write(name, fmt::format("#!/bin/sh\nif [ \"$1\" = train ]; then\n  request=$4\n  {}\nfi\nexec {} \"$@\"\n", command, EVOLORA_BINARY));
    EXPECT_EQ(::chmod(path(name).c_str(), 0755), 0);
    return path(name);
  }
  Json verdict(const std::string& out = "bench") { return Json::parse(text_of(folder_ / out / "verdict.json")); }
  std::size_t samples(const std::string& out = "bench") {
    const std::string text = text_of(folder_ / out / "samples.jsonl");
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  ProcessResult good(const std::vector<std::string>& arguments) {
    ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_status, 0) << result.standard_error;
    return result;
  }
};

}  // namespace evolora
