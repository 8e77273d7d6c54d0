// Lists of words, applied to tokens.
#include "kernels/pack/pack_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <vector>

#include "kernels/pack/source_lexer.h"

namespace evolora {
namespace {

using Words = std::set<std::string_view>;

const Words kHeaders = {"<algorithm>", "<cmath>", "<cstddef>", "<cstdint>", "<cstring>", "<immintrin.h>", "\"evolora_pack.h\""};
// array.h and its like, and not mlx.h, which brings files and exported functions too.
const Words kMlxHeaders = {"<algorithm>",  "<cmath>",        "<cstddef>",   "<cstdint>",          "<functional>",
                           "<optional>",   "<string>",       "<utility>",   "<vector>",           "<mlx/array.h>",
                           "<mlx/fast.h>", "<mlx/linalg.h>", "<mlx/ops.h>", "<mlx/transforms.h>", "\"evolora_mlx_pack.h\""};
const Words kDirectives = {"include", "define", "undef", "if", "ifdef", "ifndef", "elif", "else", "endif", "pragma", "error"};
const Words kAttributes = {"aligned", "always_inline", "cold",      "const",        "fallthrough", "flatten",   "gnu",
                           "hot",     "likely",        "may_alias", "maybe_unused", "nodiscard",   "noinline",  "nonnull",
                           "pure",    "restrict",      "unlikely",  "unused",       "vector_size", "visibility"};

// Names with two leading underscores that stay inside the kernel.
const Words kReserved = {"__attribute__",
                         "__restrict",
                         "__restrict__",
                         "__GNUC__",
                         "__clang__",
                         "__cplusplus",
                         "__SIZEOF_INT128__",
                         "__int128",
                         "__builtin_prefetch",
                         "__builtin_expect",
                         "__builtin_memcpy",
                         "__builtin_memset",
                         "__builtin_memmove",
                         "__builtin_unreachable",
                         "__builtin_assume_aligned",
                         "__builtin_shuffle",
                         "__builtin_shufflevector",
                         "__builtin_convertvector",
                         "__builtin_constant_p",
                         "__builtin_popcount",
                         "__builtin_popcountll",
                         "__builtin_clz",
                         "__builtin_clzll",
                         "__builtin_ctz",
                         "__builtin_ctzll",
                         "__builtin_fma",
                         "__builtin_fmaf",
                         "__builtin_sqrtf",
                         "__builtin_sqrt",
                         "__builtin_fabsf",
                         "__builtin_fabs",
                         "__builtin_expf",
                         "__builtin_fmaxf",
                         "__builtin_fminf",
                         "__builtin_bit_cast",
                         "__builtin_is_constant_evaluated",
                         "__m128",
                         "__m128i",
                         "__m128d",
                         "__m256",
                         "__m256i",
                         "__m256d",
                         "__m512",
                         "__m512i",
                         "__m512d",
                         "__m128bh",
                         "__m256bh",
                         "__m512bh",
                         "__mmask8",
                         "__mmask16",
                         "__mmask32",
                         "__mmask64",
                         "__bf16",
                         "__fp16"};
// Macros of the instruction set: __AVX512F__ and so on.
const std::array<std::string_view, 5> kReservedPrefixes = {"__AVX", "__SSE", "__FMA", "__F16C", "__ARM"};

// Never.
const Words kForbidden = {
    // Language: what leaves a kernel or hides what it does.
    "asm", "extern", "new", "delete", "throw", "try", "catch", "thread_local", "import", "module", "export", "co_await", "co_yield", "co_return",
    "typeid", "dynamic_cast", "_Pragma", "goto", "volatile", "setjmp", "longjmp",
    // Processes, memory, clocks and random numbers of the C library, which the allowed headers may declare.
    "system", "exit", "_exit", "_Exit", "quick_exit", "abort", "atexit", "at_quick_exit", "on_exit", "getenv", "secure_getenv", "setenv", "unsetenv",
    "putenv", "clearenv", "environ", "fork", "vfork", "malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign", "alloca", "mmap",
    "mprotect", "syscall", "ptrace", "prctl", "dlopen", "dlsym", "fopen", "popen", "printf", "socket", "time", "clock", "clock_gettime",
    "gettimeofday", "nanosleep", "rand", "srand", "random", "srandom", "drand48", "lrand48", "mrand48", "rand_r", "arc4random", "getrandom",
    "getentropy", "mkstemp", "mktemp", "mkdtemp", "realpath", "pthread_create", "sched_yield",
    // Instructions that read clocks, random numbers or segment registers, or change how floats are rounded for those who come after.
    "_rdtsc", "_rdpmc", "_rdrand16_step", "_rdrand32_step", "_rdrand64_step", "_rdseed16_step", "_rdseed32_step", "_rdseed64_step", "_readfsbase_u32",
    "_readfsbase_u64", "_readgsbase_u32", "_readgsbase_u64", "_writefsbase_u32", "_writefsbase_u64", "_writegsbase_u32", "_writegsbase_u64",
    "_xbegin", "_xend", "_mm_setcsr", "_MM_SET_ROUNDING_MODE", "_MM_SET_FLUSH_ZERO_MODE", "_MM_SET_DENORMALS_ZERO_MODE", "fesetround", "fesetenv"};

// Never in a pack on MLX: what leaves the graph. Most of it stands in headers that are not allowed; the others bring some along.
const Words kMlxForbidden = {
    "save", "load", "save_safetensors", "load_safetensors", "save_gguf", "load_gguf", "export_function", "import_function", "exporter",
    "export_to_dot", "print_graph", "set_printoptions", "get_global_formatter",
    // MLX compiles for CPUs by starting a compiler.
    "compile", "enable_compile", "disable_compile", "set_compile_mode", "precompiled_cuda_kernel", "eval", "async_eval", "synchronize", "item",
    "data", "buffer", "raw_ptr", "set_data", "copy_shared_buffer", "overwrite_descriptor", "detach", "set_tracer", "primitive", "Primitive", "event",
    "Event", "attach_event", "allocator", "Buffer", "set_default_device", "set_default_stream", "new_stream", "StreamContext", "clear_cache",
    "set_cache_limit", "set_memory_limit", "set_wired_limit", "reset_peak_memory", "get_peak_memory", "get_active_memory", "distributed", "thread",
    "jthread", "this_thread", "exception_ptr", "current_exception", "rethrow_exception", "ostringstream", "istringstream", "stringstream", "fstream",
    "ifstream", "ofstream", "chrono", "random_device", "KeySequence", "set_terminate", "terminate"};

// Not as a call. They are good names for variables, and no allowed header declares the functions.
const Words kForbiddenCalls = {"open",    "openat",   "creat",        "read",        "write",   "close",     "fread",       "fwrite", "fclose",
                               "fprintf", "dprintf",  "puts",         "fputs",       "putchar", "scanf",     "remove",      "rename", "unlink",
                               "symlink", "link",     "chmod",        "mkdir",       "connect", "bind",      "listen",      "accept", "send",
                               "sendto",  "recv",     "recvfrom",     "getaddrinfo", "signal",  "sigaction", "raise",       "kill",   "clone",
                               "execl",   "execlp",   "execle",       "execv",       "execvp",  "execve",    "posix_spawn", "munmap", "brk",
                               "sbrk",    "shm_open", "memfd_create", "usleep",      "sleep",   "getpid",    "getppid"};

std::string bare(std::string_view word) {
  const std::size_t begin = std::min(word.find_first_not_of('_'), word.size());
  const std::size_t end = word.find_last_not_of('_');
  return std::string(word.substr(begin, end == std::string_view::npos ? 0 : end + 1 - begin));
}

class Rules {
 public:
  Rules(const std::vector<Token>& tokens, const std::string& name, PackTarget target) : tokens_(tokens), name_(name), target_(target) {}

  Status run() {
    for (at_ = 0; at_ < tokens_.size(); ++at_) {
      const Token& token = tokens_[at_];
      if (token.kind == TokenKind::kDirective) TRY(directive());
      if (token.text == "##") return refused(token, "expected no '##': names are written out");
      if (token.kind == TokenKind::kIdentifier) TRY(identifier(token));
      if (token.text == "__attribute__" || token.text == "[[") TRY(attributes(token));
    }
    return {};
  }

 private:
  Error refused(const Token& token, const std::string& why) const {
    return Error{ErrorCode::kBadData, fmt::format("{}:{}: {}", name_, token.line, why)};
  }

  // The tokens of the line from `from` on.
  std::span<const Token> rest_of_line(std::size_t from, int line) const {
    std::size_t end = from;
    while (end < tokens_.size() && tokens_[end].line == line) ++end;
    return std::span(tokens_).subspan(std::min(from, tokens_.size()), end - std::min(from, tokens_.size()));
  }

  Status directive() {
    const Token& hash = tokens_[at_];
    const std::span<const Token> line = rest_of_line(at_ + 1, hash.line);
    if (line.empty()) return {};  // a # alone means nothing
    const std::string_view word = line[0].text;
    if (!kDirectives.contains(word)) return refused(hash, fmt::format("'#{}': expected one of #{}", word, fmt::join(kDirectives, ", #")));
    if (word == "include") {
      std::string header;
      for (const Token& token : line.subspan(1)) header += token.text;
      const Words& headers = pack_headers(target_);
      if (!headers.contains(header)) return refused(hash, fmt::format("#include {}: expected one of {}", header, fmt::join(headers, ", ")));
      at_ += line.size();  // names of headers are no identifiers
    }
    if (word == "pragma") {
      const bool known = line.size() >= 3 && line[1].text == "GCC" && (line[2].text == "unroll" || line[2].text == "ivdep");
      if (!known) return refused(hash, "#pragma: expected GCC unroll or GCC ivdep");
    }
    if (word == "error") at_ += line.size();
    return {};
  }

  Status identifier(const Token& token) const {
    if (target_ == PackTarget::kMlx && kMlxForbidden.contains(token.text))
      return refused(token, fmt::format("'{}' is not allowed in a kernel pack on MLX: it reaches outside the graph", token.text));
    if (kForbidden.contains(token.text)) return refused(token, fmt::format("'{}' is not allowed in a kernel pack", token.text));
    const bool called = at_ + 1 < tokens_.size() && tokens_[at_ + 1].text == "(";
    if (called && kForbiddenCalls.contains(token.text))
      return refused(token, fmt::format("'{}(': this call is not allowed in a kernel pack", token.text));
    if (!token.text.starts_with("__") || kReserved.contains(token.text)) return {};
    if (std::any_of(kReservedPrefixes.begin(), kReservedPrefixes.end(), [&](auto prefix) { return token.text.starts_with(prefix); })) return {};
    return refused(token, fmt::format("'{}' is not allowed in a kernel pack: of names that begin with two underscores only some are", token.text));
  }

  // Every word inside the brackets of an attribute, but for arguments, must be known. An index that is a lambda, a[[...], begins the same way:
  // refused with the rest.
  Status attributes(const Token& begin) const {
    int round = 0;
    const bool gnu = begin.text == "__attribute__";
    for (std::size_t i = at_ + 1; i < tokens_.size(); ++i) {
      const Token& token = tokens_[i];
      if (!gnu && token.text == "]]") return {};
      if (token.text == "(") ++round;
      if (token.text == ")" && --round == 0 && gnu) return {};
      const bool names = gnu ? round <= 2 : round == 0;
      if (names && token.kind == TokenKind::kIdentifier && !kAttributes.contains(bare(token.text)))
        return refused(token, fmt::format("attribute '{}': expected one of {}", token.text, fmt::join(kAttributes, ", ")));
      if (token.kind == TokenKind::kString && token.text != "\"default\"" && token.text != "\"hidden\"")
        return refused(token, fmt::format("attribute with the text {}: not allowed", token.text));
    }
    return refused(begin, "an attribute that does not end");
  }

  const std::vector<Token>& tokens_;
  const std::string& name_;
  PackTarget target_;
  std::size_t at_ = 0;
};

}  // namespace

const std::set<std::string_view>& pack_headers(PackTarget target) { return target == PackTarget::kMlx ? kMlxHeaders : kHeaders; }

Status check_pack_source(std::string_view source, const std::string& name, PackTarget target) {
  if (source.size() > kMaxPackFileBytes)
    return Error{ErrorCode::kTooLarge, fmt::format("{}: expected at most {} bytes, got {}", name, kMaxPackFileBytes, source.size())};
  const std::vector<Token> tokens = TRY(lex_source(source, name));
  return Rules(tokens, name, target).run();
}

}  // namespace evolora
