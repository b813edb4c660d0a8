/* loader.c: an object file in memory -> code that can be called.
 *
 * Its sections go into pages of their own, are relocated while these can be written, and can be read and executed from then on:
 * never both. It may call what it is given and nothing else. It is believed no more than needed: every offset and size is checked,
 * and what is not known here is refused with a sentence. Limits: ELF64 of x86-64, AArch64 or RISC-V, one symbol table, relocations
 * with addends; nothing that has to run before the first call, nothing that can be written after it. */
#define _GNU_SOURCE
#include "compile/compile.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST = 1 << 30, ALIGNMENT = 4096 }; /* bytes of an image, all of it in reach of a branch on x86-64 */

/* A symbol's address, and a jump there for branches that do not reach so far. */
typedef struct slot {
    uint64_t address; /* 0: unknown */
    unsigned char jump[16];
} slot;

/* What stays with the code, before it in its pages: names[name[n]] is at slot[n]. */
typedef struct head {
    size_t symbols;
    slot *slot;
    uint32_t *name; /* 0: not to be found by name */
    char *names;
} head;

typedef struct object {
    const char *file;
    size_t size;
    Elf64_Shdr *section; /* a copy; sh_addr: where it is, of those that are loaded */
    size_t sections;
    const Elf64_Shdr *symbols, *names; /* two of them */
    const cg_supplied *supplied;
    uint64_t last_place, last_value; /* of a relocation from HERE */
    char *why;
} object;

static cg_status fail(const object *o, cg_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static cg_status fail(const object *o, cg_status status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(o->why, CG_WHY, format, list);
    va_end(list);
    return cg_fail(status, "%s", o->why);
}
#define refuse(o, ...) fail(o, CONVGEN_COMPILER, __VA_ARGS__)

static cg_status no_memory(const object *o) { return fail(o, CONVGEN_NO_MEMORY, "no memory for compiled code"); }

/* ---- relocations: a row each ---- */

static bool put_64(char *place, uint64_t value)
{
    memcpy(place, &value, 8);
    return true;
}

static bool put_s32(char *place, uint64_t value)
{
    memcpy(place, &value, 4);
    return value == (uint64_t)(int64_t)(int32_t)value;
}

typedef struct relocation {
    uint32_t type;
    unsigned bytes;
    enum { ADDRESS, NEAR, SLOT } of; /* of the symbol; NEAR: or of its jump */
    enum { ABSOLUTE, HERE, PAGE, LAST } from; /* LAST: the value of the relocation at the symbol, which came before */
    bool (*put)(char *place, uint64_t value); /* false: does not fit */
} relocation;

#if defined(__x86_64__)
static bool put_32(char *place, uint64_t value)
{
    memcpy(place, &value, 4);
    return value == (uint32_t)value;
}

enum { MACHINE = EM_X86_64 };
static const unsigned char jump[16] = {0xff, 0x25, 0xf2, 0xff, 0xff, 0xff}; /* jmp *-14(%rip) */
static const relocation known[] = {
    {R_X86_64_64, 8, ADDRESS, ABSOLUTE, put_64},
    {R_X86_64_PC64, 8, ADDRESS, HERE, put_64},
    {R_X86_64_32, 4, ADDRESS, ABSOLUTE, put_32},
    {R_X86_64_32S, 4, ADDRESS, ABSOLUTE, put_s32},
    {R_X86_64_PC32, 4, NEAR, HERE, put_s32},
    {R_X86_64_PLT32, 4, NEAR, HERE, put_s32},
    {R_X86_64_GOTPCREL, 4, SLOT, HERE, put_s32},
    {R_X86_64_GOTPCRELX, 4, SLOT, HERE, put_s32},
    {R_X86_64_REX_GOTPCRELX, 4, SLOT, HERE, put_s32},
};
#elif defined(__aarch64__)
/* Bits `low` and up of an instruction take `width` bits of the value. */
static void put_bits(char *place, int low, int width, uint64_t value)
{
    uint32_t word, mask = (uint32_t)((1u << width) - 1) << low;
    memcpy(&word, place, 4);
    word = (word & ~mask) | ((uint32_t)(value << low) & mask);
    memcpy(place, &word, 4);
}

static bool put_branch(char *place, uint64_t value)
{
    int64_t distance = (int64_t)value;
    put_bits(place, 0, 26, value >> 2);
    return distance % 4 == 0 && distance >= -(1 << 27) && distance < 1 << 27;
}

static bool put_page(char *place, uint64_t value)
{
    int64_t distance = (int64_t)value;
    put_bits(place, 29, 2, value >> 12);
    put_bits(place, 5, 19, value >> 14);
    return distance >= -(1ll << 32) && distance < 1ll << 32;
}

static bool put_low(char *place, uint64_t value)
{
    put_bits(place, 10, 12, value & 0xfff);
    return true;
}

static bool put_low8(char *place, uint64_t value)
{
    put_bits(place, 10, 12, (value & 0xfff) >> 3);
    return value % 8 == 0;
}

enum { MACHINE = EM_AARCH64 };
static const unsigned char jump[16] = {0xd0, 0xff, 0xff, 0x58, 0x00, 0x02, 0x1f, 0xd6}; /* ldr x16, .-8; br x16 */
static const relocation known[] = {
    {R_AARCH64_ABS64, 8, ADDRESS, ABSOLUTE, put_64},
    {R_AARCH64_PREL32, 4, NEAR, HERE, put_s32},
    {R_AARCH64_CALL26, 4, NEAR, HERE, put_branch},
    {R_AARCH64_JUMP26, 4, NEAR, HERE, put_branch},
    {R_AARCH64_ADR_PREL_PG_HI21, 4, NEAR, PAGE, put_page},
    {R_AARCH64_ADD_ABS_LO12_NC, 4, NEAR, ABSOLUTE, put_low},
    {R_AARCH64_ADR_GOT_PAGE, 4, SLOT, PAGE, put_page},
    {R_AARCH64_LD64_GOT_LO12_NC, 4, SLOT, ABSOLUTE, put_low8},
};
#elif defined(__riscv) && __riscv_xlen == 64
/* The instruction's bits of `mask` become those of `bits`. */
static void put_bits(char *place, uint32_t mask, uint64_t bits)
{
    uint32_t word;
    memcpy(&word, place, 4);
    word = (word & ~mask) | ((uint32_t)bits & mask);
    memcpy(place, &word, 4);
}

static bool put_high(char *place, uint64_t value)
{
    uint64_t rounded = value + 0x800; /* the low part has a sign */
    put_bits(place, 0xfffff000, rounded);
    return rounded == (uint64_t)(int64_t)(int32_t)rounded;
}

static bool put_low(char *place, uint64_t value)
{
    put_bits(place, 0xfff00000, value << 20);
    return true;
}

static bool put_low_of_store(char *place, uint64_t value)
{
    put_bits(place, 0xfe000000, value << 20);
    put_bits(place, 0x00000f80, value << 7);
    return true;
}

static bool put_call(char *place, uint64_t value)
{
    return put_high(place, value) && put_low(place + 4, value);
}

enum { MACHINE = EM_RISCV };
static const unsigned char jump[16] = {0x97, 0x02, 0x00, 0x00, 0x83, 0xb2, 0x82, 0xff, 0x67, 0x80, 0x02, 0x00}; /* auipc t0, 0; ld t0, -8(t0); jr t0 */
static const relocation known[] = {
    {R_RISCV_64, 8, ADDRESS, ABSOLUTE, put_64},
    {R_RISCV_CALL, 8, NEAR, HERE, put_call},
    {R_RISCV_CALL_PLT, 8, NEAR, HERE, put_call},
    {R_RISCV_PCREL_HI20, 4, NEAR, HERE, put_high},
    {R_RISCV_GOT_HI20, 4, SLOT, HERE, put_high},
    {R_RISCV_PCREL_LO12_I, 4, ADDRESS, LAST, put_low},
    {R_RISCV_PCREL_LO12_S, 4, ADDRESS, LAST, put_low_of_store},
};
#else
enum { MACHINE = EM_NONE }; /* no row yet: every object is refused */
static const unsigned char jump[16];
static const relocation known[1] = {{UINT32_MAX, 0, ADDRESS, ABSOLUTE, put_64}};
#endif

static const relocation *find_relocation(uint32_t type)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].type == type) return &known[i];
    return NULL;
}

/* ---- the file: what may be believed ---- */

static bool is_within(uint64_t offset, uint64_t bytes, uint64_t all)
{
    return offset <= all && bytes <= all - offset;
}

static cg_status cut_short(const object *o) { return refuse(o, "the compiler's object file is cut short"); }

static cg_status read_sections(object *o)
{
    Elf64_Ehdr h;
    if (o->size < sizeof h) return cut_short(o);
    memcpy(&h, o->file, sizeof h);
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
        h.e_type != ET_REL || h.e_machine != MACHINE || h.e_shentsize != sizeof(Elf64_Shdr))
        return refuse(o, "code for this processor cannot be loaded: ELF64 objects of x86-64, AArch64 and RISC-V can");
    size_t bytes = h.e_shnum * sizeof(Elf64_Shdr);
    if (!is_within(h.e_shoff, bytes, o->size)) return cut_short(o);
    o->section = cg_malloc(bytes);
    if (!o->section) return no_memory(o);
    memcpy(o->section, o->file + h.e_shoff, bytes);
    o->sections = h.e_shnum;
    return CONVGEN_OK;
}

static bool is_loaded(const Elf64_Shdr *s) { return s->sh_flags & SHF_ALLOC; }

static cg_status check_section(const object *o, const Elf64_Shdr *s)
{
    if (s->sh_type != SHT_NULL && s->sh_type != SHT_NOBITS && !is_within(s->sh_offset, s->sh_size, o->size)) return cut_short(o);
    if (s->sh_type == SHT_REL) return refuse(o, "the object file has relocations without addends");
    if (!is_loaded(s)) return CONVGEN_OK;
    if ((s->sh_type != SHT_PROGBITS && s->sh_type != SHT_NOBITS) || s->sh_flags & SHF_TLS)
        return refuse(o, "the object file has a section of type %u, flags %#jx: only code and constants can be loaded",
                      (unsigned)s->sh_type, (uintmax_t)s->sh_flags);
    if (s->sh_addralign & (s->sh_addralign - 1) || s->sh_addralign > ALIGNMENT)
        return refuse(o, "the object file has a section aligned to %ju: powers of two to %d are allowed", (uintmax_t)s->sh_addralign,
                      ALIGNMENT);
    return CONVGEN_OK;
}

static cg_status find_symbols(object *o, const Elf64_Shdr *s)
{
    if (o->symbols) return refuse(o, "the object file has two symbol tables");
    const Elf64_Shdr *names = s->sh_link < o->sections ? &o->section[s->sh_link] : s;
    if (names->sh_type != SHT_STRTAB || !names->sh_size || names->sh_size > UINT32_MAX ||
        o->file[names->sh_offset + names->sh_size - 1])
        return refuse(o, "the object file's symbols have no names");
    o->symbols = s;
    o->names = names;
    return CONVGEN_OK;
}

static cg_status check_sections(object *o)
{
    cg_status status = CONVGEN_OK;
    for (size_t n = 0; !status && n < o->sections; n++)
        status = check_section(o, &o->section[n]);
    for (size_t n = 0; !status && n < o->sections; n++)
        if (o->section[n].sh_type == SHT_SYMTAB) status = find_symbols(o, &o->section[n]);
    if (!status && !o->symbols) return refuse(o, "the object file has no symbols");
    return status;
}

static size_t symbol_count(const object *o) { return o->symbols->sh_size / sizeof(Elf64_Sym); }

static Elf64_Sym symbol_at(const object *o, size_t n)
{
    Elf64_Sym symbol;
    memcpy(&symbol, o->file + o->symbols->sh_offset + n * sizeof symbol, sizeof symbol);
    if (symbol.st_name >= o->names->sh_size) symbol.st_name = 0;
    return symbol;
}

/* ---- the pages: head, slots, names, sections ---- */

static size_t align(size_t offset, size_t to) { return (offset + to - 1) & ~(to - 1); }

/* sh_addr: from the first page on. */
static cg_status lay_out(object *o, size_t *bytes)
{
    size_t end = sizeof(head) + symbol_count(o) * (sizeof(slot) + sizeof(uint32_t)) + o->names->sh_size;
    for (size_t n = 0; n < o->sections; n++) {
        Elf64_Shdr *s = &o->section[n];
        if (!is_loaded(s)) continue;
        end = align(end, s->sh_addralign ? s->sh_addralign : 1);
        if (!is_within(end, s->sh_size, MOST)) return refuse(o, "the compiled code is larger than %d MB", MOST >> 20);
        s->sh_addr = end;
        end += s->sh_size;
    }
    *bytes = align(end, (size_t)sysconf(_SC_PAGESIZE));
    return CONVGEN_OK;
}

static void copy_sections(object *o, char *pages)
{
    for (size_t n = 0; n < o->sections; n++) {
        Elf64_Shdr *s = &o->section[n];
        if (!is_loaded(s)) continue;
        if (s->sh_type != SHT_NOBITS) memcpy(pages + s->sh_addr, o->file + s->sh_offset, s->sh_size);
        s->sh_addr += (uintptr_t)pages;
    }
}

static uint64_t address_of(const object *o, const Elf64_Sym *symbol, const char *name)
{
    if (symbol->st_shndx == SHN_UNDEF) {
        for (const cg_supplied *s = o->supplied; s->name; s++)
            if (!strcmp(s->name, name)) return (uintptr_t)s->at;
        return 0;
    }
    const Elf64_Shdr *s = symbol->st_shndx < o->sections ? &o->section[symbol->st_shndx] : NULL;
    return s && is_loaded(s) && symbol->st_value <= s->sh_size ? s->sh_addr + symbol->st_value : 0;
}

static head *copy_symbols(const object *o, char *pages)
{
    head *h = (head *)pages;
    h->symbols = symbol_count(o);
    h->slot = (slot *)(h + 1);
    h->name = (uint32_t *)(h->slot + h->symbols);
    h->names = (char *)(h->name + h->symbols);
    memcpy(h->names, o->file + o->names->sh_offset, o->names->sh_size);
    for (size_t n = 0; n < h->symbols; n++) {
        Elf64_Sym symbol = symbol_at(o, n);
        h->slot[n].address = address_of(o, &symbol, h->names + symbol.st_name);
        memcpy(h->slot[n].jump, jump, sizeof jump);
        if (ELF64_ST_BIND(symbol.st_info) != STB_LOCAL && symbol.st_shndx != SHN_UNDEF) h->name[n] = symbol.st_name;
    }
    return h;
}

/* ---- relocation ---- */

static cg_status relocate(object *o, const head *h, const Elf64_Shdr *target, const Elf64_Rela *r)
{
    uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
    size_t n = ELF64_R_SYM(r->r_info);
    const relocation *row = find_relocation(type);
    if (!row) return refuse(o, "the object file has a relocation of type %u, which is unknown here", type);
    if (n >= h->symbols || !is_within(r->r_offset, row->bytes, target->sh_size)) return cut_short(o);
    Elf64_Sym symbol = symbol_at(o, n);
    const char *name = h->names + symbol.st_name;
    slot *s = &h->slot[n];
    if (!s->address) return refuse(o, "undefined symbol '%.100s'", name);
    uint64_t place = target->sh_addr + r->r_offset, value = s->address;
    if (row->of == SLOT) value = (uintptr_t)s;
    if (row->of == NEAR && symbol.st_shndx == SHN_UNDEF) value = (uintptr_t)s->jump;
    value += (uint64_t)r->r_addend;
    if (row->from == HERE) {
        o->last_place = place;
        o->last_value = value -= place;
    }
    if (row->from == PAGE) value = (value & ~0xfffull) - (place & ~0xfffull);
    if (row->from == LAST) {
        if (value != o->last_place) return refuse(o, "a relocation of type %u is not after that of its upper part", type);
        value = o->last_value;
    }
    if (!row->put((char *)(uintptr_t)place, value)) return refuse(o, "'%.100s' is too far for a relocation of type %u", name, type);
    return CONVGEN_OK;
}

static cg_status relocate_section(object *o, const head *h, const Elf64_Shdr *s)
{
    const Elf64_Shdr *target = s->sh_info < o->sections ? &o->section[s->sh_info] : NULL;
    if (!target || s->sh_link >= o->sections || &o->section[s->sh_link] != o->symbols) return cut_short(o);
    if (!is_loaded(target)) return CONVGEN_OK;
    cg_status status = CONVGEN_OK;
    for (size_t at = 0; !status && at + sizeof(Elf64_Rela) <= s->sh_size; at += sizeof(Elf64_Rela)) {
        Elf64_Rela r;
        memcpy(&r, o->file + s->sh_offset + at, sizeof r);
        status = relocate(o, h, target, &r);
    }
    return status;
}

static cg_status fill(object *o, cg_code *code)
{
    copy_sections(o, code->map);
    code->symbols = copy_symbols(o, code->map);
    cg_status status = CONVGEN_OK;
    for (size_t n = 0; !status && n < o->sections; n++)
        if (o->section[n].sh_type == SHT_RELA) status = relocate_section(o, code->symbols, &o->section[n]);
    return status;
}

static cg_status make_executable(const object *o, cg_code *code)
{
    __builtin___clear_cache(code->map, (char *)code->map + code->map_size);
    if (!mprotect(code->map, code->map_size, PROT_READ | PROT_EXEC)) return CONVGEN_OK;
    if (errno == ENOMEM) return no_memory(o);
    return fail(o, CONVGEN_NO_EXEC, "executable memory, which compiled kernels need, is refused (%s): a policy of this process or system "
                "has to allow it", strerror(errno));
}

cg_status cg_load(const void *file, size_t size, const cg_supplied *supplied, cg_code *code, char why[CG_WHY])
{
    object o = {.file = file, .size = size, .supplied = supplied, .why = why};
    cg_status status = read_sections(&o);
    if (!status) status = check_sections(&o);
    if (!status) status = lay_out(&o, &code->map_size);
    if (!status && !(code->map = cg_pages(code->map_size))) status = no_memory(&o);
    if (!status) status = fill(&o, code);
    if (!status) status = make_executable(&o, code);
    cg_free(o.section);
    return status;
}

void *cg_load_symbol(const cg_code *code, const char *name)
{
    const head *h = code->symbols;
    for (size_t n = 0; h && n < h->symbols; n++)
        if (h->name[n] && !strcmp(h->names + h->name[n], name)) return (void *)(uintptr_t)h->slot[n].address;
    return NULL;
}

void cg_load_end(cg_code *code)
{
    cg_pages_free(code->map, code->map_size);
    code->map = code->symbols = NULL;
}
