// C interface of the text bridge (src/text/bridge, Rust): the crates `tokenizers` and `minijinja` behind opaque handles.
// Handles may be used by many threads at once; create and free are for one. No panic of the Rust side crosses this boundary.
//
// A function that can fail returns false (or null) and fills *error; on success *error is untouched. What it fills into out and error
// belongs to the caller, who gives it back with the matching free. All texts are UTF-8 with a length, not NUL-terminated.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct EvbTokenizer;
struct EvbTemplate;

struct EvbText {
  char* data;
  std::size_t size;
};
struct EvbIds {
  std::uint32_t* data;
  std::size_t size;
};
void evb_text_free(EvbText text);
void evb_ids_free(EvbIds ids);

// json: the content of tokenizer.json. Its truncation and padding are switched off, as transformers does for plain encoding.
// extra_tokens: JSON array of {"content", "single_word", "lstrip", "rstrip", "normalized", "special", "only_if_missing"}, added in order;
// split_special_tokens: text that spells a special token is ordinary text.
EvbTokenizer* evb_tokenizer_create(const char* json, std::size_t json_size, const char* extra_tokens, std::size_t extra_tokens_size,
                                   bool split_special_tokens, EvbText* error);
void evb_tokenizer_free(EvbTokenizer* tokenizer);
bool evb_tokenizer_encode(const EvbTokenizer* tokenizer, const char* text, std::size_t text_size, bool add_special_tokens, EvbIds* out,
                          EvbText* error);
// Ids that do not exist are left out, as the crate does.
bool evb_tokenizer_decode(const EvbTokenizer* tokenizer, const std::uint32_t* ids, std::size_t ids_size, bool skip_special_tokens, EvbText* out,
                          EvbText* error);
// false: no such token.
bool evb_tokenizer_token_to_id(const EvbTokenizer* tokenizer, const char* token, std::size_t token_size, std::uint32_t* out);
std::size_t evb_tokenizer_vocabulary_size(const EvbTokenizer* tokenizer);

// source: Jinja. Behaves as transformers' environment for chat templates (trim_blocks, lstrip_blocks, loop controls, tojson = json.dumps,
// raise_exception, strftime_now, Python's str and dict methods); {% generation %} is accepted and only groups.
EvbTemplate* evb_template_create(const char* source, std::size_t source_size, EvbText* error);
void evb_template_free(EvbTemplate* chat_template);
// variables: a JSON object. Steps and memory are limited in proportion to its size; beyond it is an error.
bool evb_template_render(const EvbTemplate* chat_template, const char* variables, std::size_t variables_size, EvbText* out, EvbText* error);

// Panics on the Rust side, for the test that this ends as an error.
bool evb_panic_for_test(EvbText* error);

}  // extern "C"
