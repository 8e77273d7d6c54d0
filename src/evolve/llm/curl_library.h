// libcurl, loaded when a language model is first talked to: the thirty libraries it brings along would cost every start of the program, and so every
// training run, some megabytes and milliseconds.
#pragma once

#include <curl/curl.h>

#include "base/result.h"

namespace evolora {

// Its functions under their own names without the prefix.
struct CurlLibrary {
  decltype(&curl_global_init) global_init;
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_perform) easy_perform;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
  decltype(&curl_url) url;
  decltype(&curl_url_cleanup) url_cleanup;
  decltype(&curl_url_set) url_set;
  decltype(&curl_url_get) url_get;
  decltype(&curl_free) free;
};

// Loaded and initialised once, never unloaded. Thread-safe. kDependency: it is not on this system, or it is older than the headers this was built
// with.
Result<const CurlLibrary*> curl_library();

}  // namespace evolora
