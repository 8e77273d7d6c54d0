// Lines, not a parser: the form is narrow on purpose, so that what is rewritten is never in doubt.
#include "evolve/pack/pack_parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/suggest.h"
#include "evolve/pack/marked_blocks.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

std::optional<std::int64_t> whole(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// Where in the line the comment "evolve:" begins, and what it says. Only a comment that begins with the word declares something.
struct Declaration {
  std::size_t comment = 0;
  std::string_view range;
};
std::optional<Declaration> declaration_in(std::string_view line) {
  constexpr std::string_view kWord = "evolve:";
  for (std::size_t at = line.find(kWord); at != std::string_view::npos; at = line.find(kWord, at + 1)) {
    const std::size_t before = line.substr(0, at).find_last_not_of(" \t");
    if (before == std::string_view::npos) continue;
    std::size_t comment = std::string_view::npos;
    if (line[before] == '#') comment = before;
    if (before > 0 && (line.substr(before - 1, 2) == "//" || line.substr(before - 1, 2) == "/*")) comment = before - 1;
    if (comment == std::string_view::npos) continue;
    std::string_view range = trimmed(line.substr(at + kWord.size()));
    if (range.ends_with("*/")) range = trimmed(range.substr(0, range.size() - 2));
    return Declaration{comment, range};
  }
  return std::nullopt;
}

Result<std::pair<std::int64_t, std::int64_t>> bounds_of(std::string_view text) {
  const Error form{ErrorCode::kBadData, fmt::format("expected LOW..HIGH, got '{}'", text)};
  const std::size_t dots = text.find("..");
  if (dots == std::string_view::npos) return form;
  const auto low = whole(trimmed(text.substr(0, dots))), high = whole(trimmed(text.substr(dots + 2)));
  if (!low || !high || *low > *high) return form;
  return std::pair(*low, *high);
}

// Kind and range of the gene from "int 1..16".
Status read_range(std::string_view text, Gene& gene) {
  const std::size_t space = std::min(text.find_first_of(kSpace), text.size());
  const std::string_view kind = text.substr(0, space), range = trimmed(text.substr(space));
  if (kind == "bool" && range.empty()) {
    gene.kind = GeneKind::kBoolean;
  } else if (kind == "int" || kind == "log") {
    gene.kind = kind == "int" ? GeneKind::kInteger : GeneKind::kLogInteger;
    std::tie(gene.low, gene.high) = TRY(bounds_of(range));
    if (kind == "log" && gene.low < 1) return Error{ErrorCode::kBadData, fmt::format("log: expected a range above 0, got '{}'", range)};
  } else if (kind == "choice") {
    gene.kind = GeneKind::kChoice;
    for (std::size_t begin = 0; begin <= range.size();) {
      const std::size_t end = std::min(range.find(',', begin), range.size());
      const auto value = whole(trimmed(range.substr(begin, end - begin)));
      const bool twice = value && std::find(gene.choices.begin(), gene.choices.end(), Json(*value)) != gene.choices.end();
      if (!value || twice) return Error{ErrorCode::kBadData, fmt::format("choice: expected different whole numbers and commas, got '{}'", range)};
      gene.choices.emplace_back(*value);
      begin = end + 1;
    }
  } else {
    return Error{ErrorCode::kBadData, fmt::format("expected 'int LOW..HIGH', 'log LOW..HIGH', 'choice A,B,...' or 'bool', got '{}'", text)};
  }
  return {};
}

std::string range_text(const Gene& gene) {
  if (gene.kind == GeneKind::kBoolean) return "true or false";
  if (gene.kind != GeneKind::kChoice) return fmt::format("a whole number from {} to {}", gene.low, gene.high);
  std::vector<std::string> choices;
  for (const Json& choice : gene.choices) choices.push_back(choice.dump());
  return fmt::format("one of {}", fmt::join(choices, ", "));
}

bool allows(const Gene& gene, const Json& value) {
  if (gene.kind == GeneKind::kBoolean) return value.is_boolean();
  if (!value.is_number_integer()) return false;
  if (gene.kind == GeneKind::kChoice) return std::find(gene.choices.begin(), gene.choices.end(), value) != gene.choices.end();
  return gene.low <= value.get<std::int64_t>() && value.get<std::int64_t>() <= gene.high;
}

bool is_name_character(char c) { return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || c == '_'; }

// code: the line up to the comment, which is "... NAME = LITERAL" and perhaps ';'. begin: of the line in the file's text.
Status read_assignment(std::string_view code, std::size_t begin, PackParameter& parameter) {
  const Error form{ErrorCode::kBadData,
                   fmt::format("expected NAME = a whole number, true or false, alone on the line of its 'evolve:' comment; got '{}'", trimmed(code))};
  const std::size_t equals = code.find('=');
  if (equals == std::string_view::npos) return form;
  const std::string_view left = trimmed(code.substr(0, equals));
  std::size_t name = left.size();
  while (name > 0 && is_name_character(left[name - 1])) --name;
  parameter.gene.name = left.substr(name);
  std::string_view literal = trimmed(code.substr(equals + 1));
  if (literal.ends_with(';')) literal = trimmed(literal.substr(0, literal.size() - 1));
  if (literal == "true" || literal == "false") {
    parameter.value = literal == "true";
  } else if (const auto number = whole(literal)) {
    parameter.value = *number;
  } else {
    return form;
  }
  if (parameter.gene.name.empty()) return form;
  parameter.begin = begin + static_cast<std::size_t>(literal.data() - code.data());
  parameter.end = parameter.begin + literal.size();
  return {};
}

Status read_file(const std::string& file, std::string_view text, std::vector<PackParameter>& parameters) {
  const std::vector<MarkedBlock> blocks = TRY(marked_blocks(text, file));
  int number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    const std::string_view line = text.substr(begin, end - begin);
    ++number;
    const auto declaration = declaration_in(line);
    if (declaration) {
      const auto at = [&, number](const std::string& what) { return Error{ErrorCode::kBadData, fmt::format("{}:{}: {}", file, number, what)}; };
      const bool inside = std::any_of(blocks.begin(), blocks.end(), [&](const MarkedBlock& b) { return b.begin <= begin && end <= b.end; });
      if (!inside) return at("a parameter outside the blocks: nothing could set it");
      PackParameter parameter{.gene = {}, .value = {}, .file = file, .line = number};
      if (const Status read = read_assignment(line.substr(0, declaration->comment), begin, parameter); !read.ok()) return at(read.error().message);
      const std::string& name = parameter.gene.name;
      if (const Status read = read_range(declaration->range, parameter.gene); !read.ok())
        return at(fmt::format("{}: {}", name, read.error().message));
      if (!allows(parameter.gene, parameter.value))
        return at(fmt::format("{}: expected {}, got {}", name, range_text(parameter.gene), parameter.value.dump()));
      const auto same = [&](const PackParameter& other) { return other.gene.name == name; };
      if (const auto twin = std::find_if(parameters.begin(), parameters.end(), same); twin != parameters.end())
        return at(fmt::format("{}: declared in {}:{} already", name, twin->file, twin->line));
      parameters.push_back(std::move(parameter));
    }
    begin = end;
  }
  return {};
}

}  // namespace

Result<std::vector<PackParameter>> pack_parameters(const PackSources& sources) {
  std::vector<PackParameter> parameters;
  for (const auto& [file, text] : sources) TRY(read_file(file, text, parameters));
  return parameters;
}

GeneSpace pack_gene_space(const std::vector<PackParameter>& parameters) {
  GeneSpace space;
  for (const PackParameter& parameter : parameters) space.genes.push_back(parameter.gene);
  return space;
}

Genome pack_genome(const std::vector<PackParameter>& parameters) {
  Genome genome;
  for (const PackParameter& parameter : parameters) genome[parameter.gene.name] = parameter.value;
  return genome;
}

Result<PackSources> with_parameters(const PackSources& sources, const Genome& values) {
  const std::vector<PackParameter> parameters = TRY(pack_parameters(sources));
  PackSources changed = sources;
  std::size_t used = 0;
  // From the end on, so that places before a change stay where they are.
  for (auto p = parameters.rbegin(); p != parameters.rend(); ++p) {
    const auto value = values.find(p->gene.name);
    if (value == values.end()) continue;
    ++used;
    if (!allows(p->gene, value->second)) {
      return Error{ErrorCode::kUsage,
                   fmt::format("parameter '{}' of {}: expected {}, got {}", p->gene.name, p->file, range_text(p->gene), value->second.dump())};
    }
    changed[p->file].replace(p->begin, p->end - p->begin, value->second.dump());
  }
  if (used == values.size()) return changed;
  std::vector<std::string> names;
  for (const PackParameter& parameter : parameters) names.push_back(parameter.gene.name);
  for (const auto& [name, value] : values) {
    if (std::find(names.begin(), names.end(), name) == names.end())
      return Error{ErrorCode::kUsage, fmt::format("the pack has no parameter '{}'{}", name, did_you_mean(name, names))};
  }
  return changed;
}

}  // namespace evolora
