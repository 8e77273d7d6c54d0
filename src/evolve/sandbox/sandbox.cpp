// Runs to the end with captured output, and the probe.
#include "evolve/sandbox/sandbox.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "train/clock.h"

namespace evolora {
namespace {

struct Stream {
  Descriptor descriptor;
  std::string* text;
};

// Up to 50 ms of output. False when both streams are closed.
bool drain(std::array<Stream, 2>& streams, std::size_t limit) {
  std::array<pollfd, 2> waiting = {{{streams[0].descriptor.get(), POLLIN, 0}, {streams[1].descriptor.get(), POLLIN, 0}}};
  if (!streams[0].descriptor.valid() && !streams[1].descriptor.valid()) return false;
  if (::poll(waiting.data(), waiting.size(), 50) <= 0) return true;
  std::array<char, 1 << 14> buffer;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    if (waiting[i].revents == 0) continue;
    const ssize_t n = ::read(streams[i].descriptor.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      streams[i].descriptor.close();
      continue;
    }
    streams[i].text->append(buffer.data(), static_cast<std::size_t>(n));
    if (streams[i].text->size() > 2 * limit) streams[i].text->erase(0, streams[i].text->size() - limit);
  }
  return true;
}

}  // namespace

Result<SandboxResult> run_sandboxed(const SandboxRequest& request, Isolation isolation, const std::atomic<bool>* stop) {
  DescriptorPair out = TRY(make_pipe());
  DescriptorPair err = TRY(make_pipe());
  const double start = monotonic_seconds();
  SandboxedProcess process = TRY(SandboxedProcess::launch(request, isolation, out.write_end.get(), err.write_end.get()));
  out.write_end.close();
  err.write_end.close();
  SandboxResult result;
  std::array<Stream, 2> streams = {{{std::move(out.read_end), &result.standard_output}, {std::move(err.read_end), &result.standard_error}}};
  bool open = true;
  while (open) {
    open = drain(streams, request.output_limit_bytes);
    result.timed_out = monotonic_seconds() - start > request.limits.wall_seconds;
    result.stopped = stop != nullptr && stop->load();
    if (result.timed_out || result.stopped) break;
  }
  // Closed output and still running: the rest of its time.
  while (!open && !result.timed_out && !result.stopped && !process.reap(0.05)) {
    result.timed_out = monotonic_seconds() - start > request.limits.wall_seconds;
    result.stopped = stop != nullptr && stop->load();
  }
  result.exit_status = process.end(0);
  for (const Stream& stream : streams) {
    if (stream.text->size() > request.output_limit_bytes) stream.text->erase(0, stream.text->size() - request.output_limit_bytes);
  }
  result.wall_seconds = monotonic_seconds() - start;
  return result;
}

Status sandbox_available() {
  SandboxRequest request;
  request.argv = {"/usr/bin/true"};
  request.root = SandboxRoot::kSystem;
  request.system_calls = SystemCalls::kCompiler;
  request.limits.wall_seconds = 10;
  const SandboxResult result = TRY(run_sandboxed(request, Isolation::kSandbox, nullptr));
  if (result.exit_status == 0 && !result.timed_out) return {};
  std::string words = result.standard_error.substr(0, 200);
  for (char& c : words) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return Error{ErrorCode::kDependency,
               fmt::format("programs cannot be sandboxed here: bwrap ended with status {}: {}(are unprivileged user namespaces allowed?)",
                           result.exit_status, words)};
}

}  // namespace evolora
