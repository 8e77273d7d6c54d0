// ELF64 section and program headers, every offset checked. The file may be anything: the compiler is not trusted with hostile sources.
#include "evolve/judge/library_check.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstring>
#include <string_view>

namespace evolora {
namespace {

#if defined(__x86_64__)
constexpr auto kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr auto kMachine = EM_AARCH64;
#else
constexpr auto kMachine = EM_NONE;
#endif

class Elf {
 public:
  explicit Elf(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  std::optional<T> at(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  // The text of a table of strings at offset; empty if it does not end inside.
  std::string_view text(const Elf64_Shdr& table, std::uint64_t offset) const {
    if (offset >= table.sh_size || table.sh_offset > bytes_.size() || bytes_.size() - table.sh_offset < table.sh_size) return {};
    const char* begin = reinterpret_cast<const char*>(bytes_.data() + table.sh_offset + offset);
    const std::size_t room = static_cast<std::size_t>(table.sh_size - offset);
    const void* end = std::memchr(begin, 0, room);
    return end == nullptr ? std::string_view() : std::string_view(begin, static_cast<std::size_t>(static_cast<const char*>(end) - begin));
  }

 private:
  std::span<const std::byte> bytes_;
};

std::optional<std::string> section_problem(const Elf64_Shdr& section, std::string_view name) {
  const bool writable = (section.sh_flags & SHF_WRITE) != 0;
  if ((section.sh_flags & SHF_ALLOC) == 0) return std::nullopt;
  if (writable && (section.sh_flags & SHF_EXECINSTR) != 0) return fmt::format("section {} is writable and executable", name);
  if ((section.sh_flags & SHF_TLS) != 0) return "it has thread-local data: results must depend on the arguments only";
  if (!writable) return std::nullopt;
  // Relocated constants and the tables of the dynamic linker: sealed before anything of the library runs (RELRO).
  if (name.starts_with(".data.rel.ro") || name == ".dynamic" || name == ".got" || name == ".got.plt") return std::nullopt;
  const bool lists = section.sh_type == SHT_INIT_ARRAY || section.sh_type == SHT_FINI_ARRAY || section.sh_type == SHT_PREINIT_ARRAY ||
                     name.starts_with(".ctors") || name.starts_with(".dtors");
  if (section.sh_size == 0) return std::nullopt;
  if (lists) return "it runs code when it is loaded or unloaded";
  return fmt::format("it has {} bytes of writable data in {}: results must depend on the arguments only (constants: constexpr)", section.sh_size,
                     name);
}

// Is the section nothing but a pointer that the dynamic linker sets to __gxx_personality_v0?
bool is_personality_pointer(const Elf& elf, const Elf64_Ehdr& header, const Elf64_Shdr& data) {
  if (data.sh_type != SHT_PROGBITS || data.sh_size != sizeof(std::uint64_t)) return false;
  for (std::uint64_t i = 0; i < header.e_shnum; ++i) {
    const auto section = elf.at<Elf64_Shdr>(header.e_shoff + i * sizeof(Elf64_Shdr));
    if (!section.has_value() || section->sh_type != SHT_RELA || section->sh_link >= header.e_shnum) continue;
    const auto symbols = elf.at<Elf64_Shdr>(header.e_shoff + std::uint64_t{section->sh_link} * sizeof(Elf64_Shdr));
    if (!symbols.has_value() || symbols->sh_link >= header.e_shnum) continue;
    const auto names = elf.at<Elf64_Shdr>(header.e_shoff + std::uint64_t{symbols->sh_link} * sizeof(Elf64_Shdr));
    for (std::uint64_t at = 0; names.has_value() && at + sizeof(Elf64_Rela) <= section->sh_size; at += sizeof(Elf64_Rela)) {
      const auto relocation = elf.at<Elf64_Rela>(section->sh_offset + at);
      if (!relocation.has_value()) break;
      if (relocation->r_offset != data.sh_addr || relocation->r_addend != 0) continue;
      const auto symbol = elf.at<Elf64_Sym>(symbols->sh_offset + ELF64_R_SYM(relocation->r_info) * sizeof(Elf64_Sym));
      return symbol.has_value() && elf.text(*names, symbol->st_name) == "__gxx_personality_v0";
    }
  }
  return false;
}

}  // namespace

std::optional<std::string> library_problem(std::span<const std::byte> bytes, PackTarget target) {
  const Elf elf(bytes);
  const auto header = elf.at<Elf64_Ehdr>(0);
  const bool is_library = header.has_value() && std::memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == ELFCLASS64 &&
                          header->e_type == ET_DYN && header->e_machine == kMachine && header->e_shentsize == sizeof(Elf64_Shdr) &&
                          header->e_phentsize == sizeof(Elf64_Phdr) && header->e_shnum > 0;
  if (!is_library) return "it is no shared library of this machine";
  const auto names = elf.at<Elf64_Shdr>(header->e_shoff + std::uint64_t{header->e_shstrndx} * sizeof(Elf64_Shdr));
  if (!names.has_value() || header->e_shstrndx >= header->e_shnum) return "its section names are missing";
  for (std::uint64_t i = 0; i < header->e_shnum; ++i) {
    const auto section = elf.at<Elf64_Shdr>(header->e_shoff + i * sizeof(Elf64_Shdr));
    if (!section.has_value()) return "its section headers are cut off";
    const std::string_view name = elf.text(*names, section->sh_name);
    const bool exceptions = target == PackTarget::kMlx && name == ".data" && is_personality_pointer(elf, *header, *section);
    const auto problem = exceptions ? std::nullopt : section_problem(*section, name);
    if (problem.has_value()) return problem;
    if (section->sh_type != SHT_DYNSYM && section->sh_type != SHT_SYMTAB) continue;
    for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= section->sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = elf.at<Elf64_Sym>(section->sh_offset + at);
      if (!symbol.has_value()) return "its symbols are cut off";
      if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC) return "it has an indirect function, which runs when it is loaded";
    }
  }
  for (std::uint64_t i = 0; i < header->e_phnum; ++i) {
    const auto segment = elf.at<Elf64_Phdr>(header->e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment.has_value()) return "its program headers are cut off";
    if (segment->p_type == PT_GNU_STACK && (segment->p_flags & PF_X) != 0) return "it asks for an executable stack";
    if (segment->p_type == PT_LOAD && (segment->p_flags & (PF_W | PF_X)) == (PF_W | PF_X)) return "it has memory that is writable and executable";
  }
  return std::nullopt;
}

}  // namespace evolora
