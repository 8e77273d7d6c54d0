// Verbs of the text oracle: token ids, decoded text, and rendered conversations.
//   tokenize MODEL IN.json OUT.json   in: {"texts": [...], "id_lists": [[...]], "add_special_tokens": bool, "skip_special_tokens": bool}
//                                     out: {"eos", "stop", "size", "ids": [[...]], "decoded": [...], "streamed": [...]}
//                                     decoded and streamed: of the ids of each text, then of each id list
//   render   MODEL IN.json OUT.json   in: [{"messages": [...], "tools": [...] or absent, "add_generation_prompt": bool}]
//                                     out: [{"text": ..., "ids": [...]} or {"error": ...}]
#include <cstdio>
#include <string>

#include "base/file_system.h"
#include "base/json.h"
#include "probe_verbs.h"
#include "text/tokenizer.h"

namespace evolora::probe {

namespace {

using Json = nlohmann::ordered_json;

Result<std::string> stream(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string out;
  for (const std::int32_t id : ids) out += TRY(decoder.push(id));
  out += TRY(decoder.finish());
  return out;
}

Status tokenize(const fs::path& model, const fs::path& in, const fs::path& out_path) {
  FileSystem& files = real_file_system();
  const Tokenizer tokenizer = TRY(Tokenizer::load(files, model));
  const Json request = TRY(read_json_object(files, in));
  Json out = {{"eos", nullptr}, {"stop", tokenizer.stop_token_ids()}, {"size", tokenizer.vocabulary_size()}};
  if (tokenizer.eos_token_id()) out["eos"] = *tokenizer.eos_token_id();
  out["ids"] = Json::array();
  out["decoded"] = Json::array();
  out["streamed"] = Json::array();
  std::vector<std::vector<std::int32_t>> id_lists;
  for (const Json& text : request["texts"]) {
    id_lists.push_back(TRY(tokenizer.encode(text.get<std::string>(), request["add_special_tokens"].get<bool>())));
    out["ids"].push_back(id_lists.back());
  }
  for (const Json& ids : request["id_lists"]) id_lists.push_back(ids.get<std::vector<std::int32_t>>());
  for (const auto& ids : id_lists) {
    out["decoded"].push_back(TRY(tokenizer.decode(ids, request["skip_special_tokens"].get<bool>())));
    out["streamed"].push_back(TRY(stream(tokenizer, ids)));
  }
  const std::string text = TRY(json_to_text(out));
  return write_file_atomically(files, out_path, text);
}

Result<Json> render_one(const Tokenizer& tokenizer, const Json& request) {
  ChatOptions options;
  options.add_generation_prompt = request.value("add_generation_prompt", false);
  if (request.contains("tools")) options.tools = &request["tools"];
  Json out;
  out["text"] = TRY(tokenizer.render_chat(request["messages"], options));
  out["ids"] = TRY(tokenizer.encode_chat(request["messages"], options));
  return out;
}

Status render(const fs::path& model, const fs::path& in, const fs::path& out_path) {
  FileSystem& files = real_file_system();
  const Tokenizer tokenizer = TRY(Tokenizer::load(files, model));
  const std::string request_text = TRY(files.read(in));
  const Json requests = TRY(parse_json(request_text));
  Json out = Json::array();
  for (const Json& request : requests) {
    const Result<Json> rendered = render_one(tokenizer, request);
    out.push_back(rendered.ok() ? *rendered : Json{{"error", rendered.error().message}});
  }
  const std::string text = TRY(json_to_text(out));
  return write_file_atomically(files, out_path, text);
}

int exit_status(const char* verb, int argc, const Status& status) {
  if (argc != 4) std::fprintf(stderr, "usage: %s MODEL IN.json OUT.json\n", verb);
  if (!status.ok()) std::fprintf(stderr, "%s: %s\n", verb, status.error().message.c_str());
  return status.ok() && argc == 4 ? 0 : 2;
}

}  // namespace

int probe_tokenize(int argc, char** argv) { return exit_status(argv[0], argc, argc == 4 ? tokenize(argv[1], argv[2], argv[3]) : Status()); }
int probe_render(int argc, char** argv) { return exit_status(argv[0], argc, argc == 4 ? render(argv[1], argv[2], argv[3]) : Status()); }

}  // namespace evolora::probe
