/* list.c: reads a text of options and problems: one problem, or a list of them.
 *
 * Words, # comments, quotes, options that hold from their place on, and lists within lists are benchdnn's; a trailing *N is
 * ours. Words are of 1023 bytes at most, lists of 16 MB, nested up to 8 deep. A list and what it includes are at most 1,000 files of
 * 16 MB in all, and a command has at most 100,000 problems: lists that include others many times end there, not when memory does. */
#include "problem/problem.h"
#include <string.h>

enum { WORD = 1024, LIST_DEPTH = 8, LIST_BYTES = 16 << 20, MOST_LISTS = 1000, MOST_LAYERS = 1000000 };

/* ---- words -------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *at, *end;
    int line;
} words;

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void skip_to_word(words *w)
{
    for (bool comment = false; w->at < w->end; w->at++) {
        if (*w->at == '\n') w->line++, comment = false;
        else if (*w->at == '#') comment = true;
        else if (!comment && !is_space(*w->at)) return;
    }
}

/* The next word, "" at the end. White space between quotes belongs to it. */
static cg_status next_word(words *w, char word[WORD])
{
    size_t length = 0;
    bool quoted = false;
    skip_to_word(w);
    for (; w->at < w->end && *w->at != '\n' && (quoted || !is_space(*w->at)); w->at++) {
        if (*w->at == '"') quoted = !quoted;
        if (!*w->at) return cg_fail(CONVGEN_BAD_PROBLEM, "a zero byte: this is not a text of problems");
        if (length == WORD - 1)
            return cg_fail(CONVGEN_BAD_PROBLEM, "\"%.24s...\" is too long: %d bytes are allowed", word, WORD - 1);
        word[length++] = *w->at;
        word[length] = 0;
    }
    word[length] = 0;
    return CONVGEN_OK;
}

static bool is_option(const char *word) { return !strncmp(word, "--", 2); }

static cg_status take_option(cg_options *o, const cg_options *initial, const char *word)
{
    cg_status status = cg_option_take(o, initial, word);
    return status == CONVGEN_UNSUPPORTED ? cg_option_unknown(word) : status;
}

static cg_status parse_one(words *w, cg_named_problem *out)
{
    char word[WORD];
    cg_options o;
    bool found = false;
    cg_options_default(&o);
    for (;;) {
        if (next_word(w, word)) return CONVGEN_BAD_PROBLEM;
        if (!*word) break;
        if (found)
            return cg_fail(CONVGEN_BAD_PROBLEM,
                           "\"%.80s\" stands after the problem: one problem, its options before it", word);
        cg_status status = is_option(word) ? take_option(&o, NULL, word) : cg_problem_parse(word, &o, out);
        if (status) return status;
        found = !is_option(word);
    }
    if (!found) return cg_fail(CONVGEN_BAD_PROBLEM, "no problem in the text: for example mb1ic3ih5oc4kh3ph1");
    if (out->threads || *out->target)
        return cg_fail(CONVGEN_BAD_PROBLEM, "--threads and --target are no part of a problem: see convgen_options");
    return CONVGEN_OK;
}

convgen_status convgen_problem_parse(const char *text, convgen_problem *out)
{
    if (!text || !out) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_problem_parse: text and out must not be NULL");
    words w = {text, text + strlen(text), 1};
    cg_named_problem n;
    cg_status status = parse_one(&w, &n);
    if (!status) *out = n.problem;
    return status;
}

/* ---- lists -------------------------------------------------------------------------------------------------------- */

cg_status cg_list_add(cg_problem_list *list, const cg_named_problem *p)
{
    if (list->count == CG_MOST_PROBLEMS)
        return cg_fail(CONVGEN_BAD_PROBLEM, "this would be problem %d: at most %d are allowed", list->count + 1, CG_MOST_PROBLEMS);
    if (list->count == list->room) {
        int room = list->room ? 2 * list->room : 16;
        cg_named_problem *at = cg_realloc(list->at, (size_t)room * sizeof *at);
        if (!at) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a list of %d problems", room);
        list->at = at, list->room = room;
    }
    list->at[list->count++] = *p;
    return CONVGEN_OK;
}

void cg_list_free(cg_problem_list *list)
{
    cg_free(list->at);
    *list = (cg_problem_list){NULL, 0, 0};
}

typedef struct {
    cg_options options; /* shared by nested lists, as in benchdnn: what one sets holds on after it */
    const cg_options *initial;
    cg_problem_list *list;
    int depth, files; /* lists that are open; that were opened */
    size_t bytes;     /* of all of them */
    bool located; /* the error names its place already */
} reader;

static cg_status read_list(reader *r, const char *path);

/* A path in a list is relative to the list. */
static cg_status read_nested(reader *r, const char *list, const char *file)
{
    if (!*file) return cg_fail(CONVGEN_BAD_PROBLEM, "--batch= has no file: --batch=FILE is allowed");
    if (r->depth == LIST_DEPTH)
        return cg_fail(CONVGEN_BAD_PROBLEM,
                       "--batch=%.80s: lists are nested more than %d deep; does one include itself?", file, LIST_DEPTH);
    if (r->files == MOST_LISTS)
        return cg_fail(CONVGEN_BAD_PROBLEM, "--batch=%.80s: this would be list %d; at most %d are allowed, each counted as often as it is included",
                       file, r->files + 1, MOST_LISTS);
    const char *slash = strrchr(list, '/');
    int folder = *file == '/' || !slash ? 0 : (int)(slash - list) + 1;
    size_t size = (size_t)folder + strlen(file) + 1;
    char *path = cg_malloc(size);
    if (!path) return cg_fail(CONVGEN_NO_MEMORY, "no memory for the list %.80s", file);
    snprintf(path, size, "%.*s%s", folder, list, file);
    cg_status status = read_list(r, path);
    cg_free(path);
    return status;
}

static cg_status take_multiplicity(const char *word, cg_named_problem *last)
{
    int64_t times;
    if (!last)
        return cg_fail(CONVGEN_BAD_PROBLEM, "%.24s stands alone: it is allowed once, after a problem on its line",
                       word);
    if (!cg_whole_number(word + 1, 1, MOST_LAYERS, &times))
        return cg_fail(CONVGEN_BAD_PROBLEM, "%.24s: allowed is *1 to *%d", word, MOST_LAYERS);
    last->multiplicity = (long)times;
    return CONVGEN_OK;
}

static cg_status read_problem(reader *r, const char *word)
{
    cg_named_problem n;
    cg_status status = cg_problem_parse(word, &r->options, &n);
    return status ? status : cg_list_add(r->list, &n);
}

/* multiplied: the line whose last problem may still be given a multiplicity. */
static cg_status take_word(reader *r, const char *path, const char *word, int line, int *multiplied)
{
    int may_multiply = *multiplied;
    *multiplied = 0;
    if (!strncmp(word, "--batch=", 8)) return read_nested(r, path, word + 8);
    if (is_option(word)) return take_option(&r->options, r->initial, word);
    if (*word == '*') return take_multiplicity(word, may_multiply == line ? &r->list->at[r->list->count - 1] : NULL);
    *multiplied = line;
    return read_problem(r, word);
}

static cg_status read_words(reader *r, const char *path, words *w)
{
    char word[WORD], place[WORD + 16];
    int multiplied = 0;
    cg_status status;
    do {
        status = next_word(w, word);
        if (!status && *word) status = take_word(r, path, word, w->line, &multiplied);
    } while (!status && *word);
    if (!status || r->located) return status;
    snprintf(place, sizeof place, "%s:%d", path, w->line);
    r->located = true;
    return cg_fail_at(status, place);
}

static cg_status read_list(reader *r, const char *path)
{
    cg_buffer text = {NULL, 0, 0, false};
    r->depth++, r->files++;
    cg_status status = cg_read_file(path, LIST_BYTES, &text);
    r->bytes += text.length;
    if (!status && r->bytes > LIST_BYTES)
        status = cg_fail(CONVGEN_BAD_PROBLEM, "%s: with it the lists have %zu bytes; at most %d are allowed, each counted as often as it is included",
                         path, r->bytes, LIST_BYTES);
    if (!status && text.text) {
        size_t mark = text.length >= 3 && !memcmp(text.text, "\xEF\xBB\xBF", 3) ? 3 : 0; /* that editors put before UTF-8 */
        words w = {text.text + mark, text.text + text.length, 1};
        status = read_words(r, path, &w);
    }
    cg_buffer_free(&text);
    r->depth--;
    return status;
}

cg_status cg_list_read(const char *path, const cg_options *initial, cg_problem_list *list)
{
    cg_options defaults;
    cg_options_default(&defaults);
    if (!initial) initial = &defaults;
    reader r = {.options = *initial, .initial = initial, .list = list};
    int before = list->count;
    cg_status status = read_list(&r, path);
    if (status) list->count = before;
    return status;
}
