// dlopen and its symbols.
#include "evolve/llm/curl_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace evolora {
namespace {

#ifdef __APPLE__
constexpr const char* kFile = "libcurl.4.dylib";
#else
constexpr const char* kFile = "libcurl.so.4";
#endif

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

Result<CurlLibrary> load() {
  void* const file = dlopen(kFile, RTLD_NOW | RTLD_LOCAL);
  if (file == nullptr)
    return Error{ErrorCode::kDependency, fmt::format("a language model is talked to through libcurl, which is missing: {}", dlerror())};
  CurlLibrary curl{};
  const bool complete = find(file, "curl_global_init", curl.global_init) && find(file, "curl_easy_init", curl.easy_init) &&
                        find(file, "curl_easy_cleanup", curl.easy_cleanup) && find(file, "curl_easy_setopt", curl.easy_setopt) &&
                        find(file, "curl_easy_perform", curl.easy_perform) && find(file, "curl_easy_getinfo", curl.easy_getinfo) &&
                        find(file, "curl_easy_strerror", curl.easy_strerror) && find(file, "curl_slist_append", curl.slist_append) &&
                        find(file, "curl_slist_free_all", curl.slist_free_all) && find(file, "curl_url", curl.url) &&
                        find(file, "curl_url_cleanup", curl.url_cleanup) && find(file, "curl_url_set", curl.url_set) &&
                        find(file, "curl_url_get", curl.url_get) && find(file, "curl_free", curl.free);
  if (!complete) return Error{ErrorCode::kDependency, fmt::format("{}: a function is missing: {}", kFile, dlerror())};
  if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return Error{ErrorCode::kDependency, fmt::format("{}: it does not start", kFile)};
  return curl;
}

}  // namespace

Result<const CurlLibrary*> curl_library() {
  static const Result<CurlLibrary> library = load();
  if (!library.ok()) return library.error();
  return &library.value();
}

}  // namespace evolora
