/* notation.c: the text of a problem, read and written.
 *
 * The notation and its deductions are benchdnn's (oneDNN, tests/benchdnn), of its deconvolutions too; --op, negative pads, --accuracy, --weights, --epilogue,
 * --threads and --target are ours. One spelling is canonical: parse(format(p)) = p. */
#include "problem/problem.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char axes[] = "dhw";

/* ---- names ------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    int value;
} name_row; /* the first row of a value is its canonical name; others are synonyms; NULL ends */

static const name_row tags[] = {{"nhwc", CONVGEN_NHWC},  {"nchw", CONVGEN_NCHW},  {"axb", CONVGEN_NHWC},
                                {"abx", CONVGEN_NCHW},   {"nwc", CONVGEN_NHWC},   {"ncw", CONVGEN_NCHW},
                                {"ndhwc", CONVGEN_NHWC}, {"ncdhw", CONVGEN_NCHW}, {NULL, 0}};
static const name_row ops[] = {{"conv", CONVGEN_CONVOLUTION}, {"deconv", CONVGEN_TRANSPOSED}, {NULL, 0}};
static const char *const accuracies[CG_ACCURACIES] = CG_ACCURACY_NAMES;
static const name_row weightings[] = {
    {"changing", CONVGEN_WEIGHTS_CHANGING}, {"fixed", CONVGEN_WEIGHTS_FIXED}, {NULL, 0}};
static const struct {
    const char *name;
    convgen_pass pass;
    bool bias;
} directions[] = {{"FWD_D", CONVGEN_FORWARD, false},          {"FWD_B", CONVGEN_FORWARD, true},
                  {"FWD_I", CONVGEN_FORWARD, false},          {"BWD_D", CONVGEN_BACKWARD_DATA, false},
                  {"BWD_W", CONVGEN_BACKWARD_WEIGHTS, false}, {"BWD_WB", CONVGEN_BACKWARD_WEIGHTS, true}};
enum { DIRECTIONS = sizeof directions / sizeof directions[0] };

static const char *name_of(const name_row *rows, int value)
{
    for (; rows->name; rows++)
        if (rows->value == value) return rows->name;
    return "?";
}

static bool value_of(const name_row *rows, const char *name, int *value)
{
    for (; rows->name; rows++)
        if (!strcmp(rows->name, name)) return *value = rows->value, true;
    return false;
}

const char *cg_type_name(convgen_type t) { return cg_types[t].name; }
const char *cg_op_name(convgen_op o) { return name_of(ops, (int)o); }
const char *cg_tag_name(convgen_layout l) { return name_of(tags, (int)l); }
const char *cg_accuracy_name(convgen_accuracy a) { return accuracies[a]; }
const char *cg_weights_name(convgen_weights w) { return name_of(weightings, (int)w); }

const char *cg_pass_name(const convgen_problem *p)
{
    for (int i = 0; i < DIRECTIONS; i++)
        if (directions[i].pass == p->pass && directions[i].bias == p->bias) return directions[i].name;
    return "?";
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

void cg_options_default(cg_options *o)
{
    memset(o, 0, sizeof *o);
    o->base.bias = true; /* FWD_B */
}

static bool take_dir(cg_options *o, const char *value)
{
    for (int i = 0; i < DIRECTIONS; i++) {
        if (strcmp(directions[i].name, value)) continue;
        o->base.pass = directions[i].pass;
        o->base.bias = directions[i].bias;
        return true;
    }
    return false;
}

static bool take_type(cg_options *o, const char *value)
{
    for (int i = 0; i < CG_TYPES; i++)
        if (!strcmp(cg_types[i].name, value)) return o->base.type = (convgen_type)i, true;
    return false;
}

static bool take_accuracy(cg_options *o, const char *value)
{
    for (int i = 0; i < CG_ACCURACIES; i++)
        if (!strcmp(accuracies[i], value)) return o->base.accuracy = (convgen_accuracy)i, true;
    return false;
}

static bool take_mb(cg_options *o, const char *value) { return cg_whole_number(value, 0, CG_MOST, &o->mb); }

static bool take_threads(cg_options *o, const char *value)
{
    int64_t threads;
    return cg_whole_number(value, 1, CG_MOST_THREADS, &threads) && (o->threads = (int)threads, true);
}

static bool take_target(cg_options *o, const char *value)
{
    size_t length = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_.-");
    if (!length || value[length] || length >= sizeof o->target) return false;
    memcpy(o->target, value, length + 1);
    return true;
}

static bool take_src_stride(cg_options *o, const char *value) { return cg_whole_number(value, 0, CG_MOST, &o->base.src_pixel_stride); }
static bool take_dst_stride(cg_options *o, const char *value) { return cg_whole_number(value, 0, CG_MOST, &o->base.dst_pixel_stride); }

static bool take_accumulate(cg_options *o, const char *value)
{
    (void)value;
    return o->base.accumulate = true;
}

static bool take_epilogue(cg_options *o, const char *value)
{
    convgen_epilogue e;
    bool read = cg_epilogue_read(value, &e);
    if (read) o->base.epilogue = e;
    return read;
}

#define STRIDES "0 (the channels) or more: elements from a pixel to the next"

/* All that is said of an option, here, in --help, in the manual page and in the completion. What is behind it reads one: a function, or a place
 * and its names; allowed NULL: the choices. */
static const struct {
    cg_option_text text;
    const char *allowed;
    bool (*take)(cg_options *o, const char *value);
    size_t at;
    const name_row *names;
} option_rows[] = {
    {{"--op", "OP", "conv (the default) or deconv: transposed, ic and ih are its input", "conv deconv"},
     NULL, NULL, offsetof(cg_options, base.op), ops},
    {{"--dir", "DIR", "FWD_B (the default: with bias), FWD_D, FWD_I, BWD_D, BWD_W, BWD_WB", "FWD_D FWD_B FWD_I BWD_D BWD_W BWD_WB"},
     NULL, take_dir, 0, NULL},
    {{"--dt", "TYPE", CG_TYPE_LIST "; the first is the default", CG_TYPE_WORDS}, NULL, take_type, 0, NULL},
    {{"--tag", "TAG", "nhwc (the default: channels last) or nchw", "nhwc nchw"},
     "nhwc (or axb, nwc, ndhwc), nchw (or abx, ncw, ncdhw)", NULL, offsetof(cg_options, base.layout), tags},
    {{"--mb", "N", "the batch size, whatever the problem says", NULL}, "0 (as the problem says) to 2147483647", take_mb, 0, NULL},
    {{"--accuracy", "A", CG_ACCURACY_LIST "; the default is as good as a plain loop", CG_ACCURACY_WORDS}, NULL, take_accuracy, 0, NULL},
    {{"--weights", "W", "changing (the default) or fixed: packed once, packing not in the time", "changing fixed"},
     NULL, NULL, offsetof(cg_options, base.weights), weightings},
    {{"--epilogue", "E", "after the bias, in this order: " CG_EPILOGUE_LIST, CG_EPILOGUE_WORDS}, CG_EPILOGUE_LIST, take_epilogue, 0, NULL},
    {{"--src-stride", "N", "src is a slice of channels: elements from one pixel to the next (default 0: the channels; nhwc)", NULL}, STRIDES,
     take_src_stride, 0, NULL},
    {{"--dst-stride", "N", "the same of dst, and of the residual", NULL}, STRIDES, take_dst_stride, 0, NULL},
    {{"--accumulate", NULL, "a gradient, and that of the bias, is added to what is there", NULL}, NULL, take_accumulate, 0, NULL},
    {{"--threads", "N", "threads of one convolution, at most 1024 (default 1)", NULL}, "1 to 1024", take_threads, 0, NULL},
    {{"--target", "T", CG_TARGET_LIST "; default $CONVGEN_TARGET, else the best of this machine", CG_TARGET_WORDS},
     "a target's name, such as avx2", take_target, 0, NULL},
    {{"--reset", NULL, "back to the defaults", NULL}, NULL, NULL, 0, NULL},
};
enum { OPTIONS = sizeof option_rows / sizeof option_rows[0] };

const cg_option_text *cg_option_at(int n) { return n < OPTIONS ? &option_rows[n].text : NULL; }

/* The values of an option that has some, for a sentence. */
static const char *allowed(int option, char text[CG_WHY])
{
    const char *at = option_rows[option].text.choices;
    if (option_rows[option].allowed) return option_rows[option].allowed;
    size_t used = 0;
    for (text[0] = 0; *at && used + 3 < CG_WHY; at++) used += (size_t)snprintf(text + used, CG_WHY - used, *at == ' ' ? ", " : "%c", *at);
    return text;
}

static bool take_value(int option, cg_options *o, const char *value)
{
    int named;
    if (!value && option_rows[option].text.value) return false;
    if (option_rows[option].take) return option_rows[option].take(o, value);
    if (!value_of(option_rows[option].names, value, &named)) return false;
    memcpy((char *)o + option_rows[option].at, &named, sizeof named); /* enumerations are as large as int: the ABI says so */
    return true;
}

cg_status cg_option_take(cg_options *o, const cg_options *initial, const char *word)
{
    if (!strcmp(word, "--reset")) {
        if (initial) *o = *initial;
        else cg_options_default(o);
        return CONVGEN_OK;
    }
    size_t length = strcspn(word, "=");
    for (int i = 0; i < OPTIONS; i++) {
        const cg_option_text *text = &option_rows[i].text;
        char words[CG_WHY];
        if (strlen(text->key) != length || strncmp(text->key, word, length)) continue;
        if (!text->value && word[length]) return cg_fail(CONVGEN_BAD_PROBLEM, "%.80s: %s has no value", word, text->key);
        if (take_value(i, o, text->value && word[length] ? word + length + 1 : NULL)) return CONVGEN_OK;
        return cg_fail(CONVGEN_BAD_PROBLEM, "%.80s: allowed is %s=VALUE with %s", word, text->key, allowed(i, words));
    }
    return CONVGEN_UNSUPPORTED;
}

cg_status cg_option_unknown(const char *word)
{
    char keys[256] = "";
    for (int i = 0; i < OPTIONS; i++) {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, "%s%s", used ? ", " : "", option_rows[i].text.key);
    }
    return cg_fail(CONVGEN_BAD_PROBLEM, "unknown option %.80s: a problem's options are %s", word, keys);
}

/* ---- the descriptor ----------------------------------------------------------------------------------------------- */

/* The descriptor as it was written; 0 is "not given" where benchdnn has it so. */
typedef struct {
    int64_t g, mb, ic, oc, i[3], o[3], k[3], s[3], p[3], d[3];
    bool pad_given[3];
} fields;

#define AXIS(letter, a, least) {#letter #a, offsetof(fields, letter) + sizeof(int64_t) * (AXIS_##a), least}
enum { AXIS_d, AXIS_h, AXIS_w };
static const struct {
    const char *key;
    size_t offset;
    int64_t least;
} key_rows[] = {
    /* clang-format off */
    {"g", offsetof(fields, g), 1}, {"mb", offsetof(fields, mb), 1}, {"ic", offsetof(fields, ic), 1}, {"oc", offsetof(fields, oc), 1},
    AXIS(i, d, 0), AXIS(i, h, 0), AXIS(i, w, 0),
    AXIS(o, d, 0), AXIS(o, h, 0), AXIS(o, w, 0),
    AXIS(k, d, 0), AXIS(k, h, 0), AXIS(k, w, 0),
    AXIS(s, d, 1), AXIS(s, h, 1), AXIS(s, w, 1),
    AXIS(p, d, -INT32_MAX), AXIS(p, h, -INT32_MAX), AXIS(p, w, -INT32_MAX),
    AXIS(d, d, 0), AXIS(d, h, 0), AXIS(d, w, 0),
    /* clang-format on */
};
enum { KEYS = sizeof key_rows / sizeof key_rows[0] };

static int find_key(const char *text)
{
    for (int i = 0; i < KEYS; i++)
        if (!strncmp(text, key_rows[i].key, strlen(key_rows[i].key))) return i;
    return -1;
}

static cg_status unknown_key(const char *text)
{
    return cg_fail(
        CONVGEN_BAD_PROBLEM,
        "unknown letter at \"%.16s\": a problem is made of g mb ic oc, i o k s p d with d h or w, a number after each, "
        "and n\"name\" at the end",
        text);
}

/* A number within [least, 2^31-1], saturated while it is read, so that no length of digits overflows. */
static cg_status read_size(const char *key, int64_t least, const char **at, int64_t *out)
{
    const char *text = *at;
    bool negative = *text == '-';
    if (negative) text++;
    if (*text < '0' || *text > '9') return cg_fail(CONVGEN_BAD_PROBLEM, "%s has no number after it", key);
    int64_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        if (value <= CG_MOST) value = value * 10 + (*text - '0');
    if (negative) value = -value;
    if (value < least || value > CG_MOST)
        return cg_fail(CONVGEN_BAD_PROBLEM, "%s%.*s: %s must be %" PRId64 " to %" PRId64, key,
                       (int)(text - *at < 24 ? text - *at : 24), *at, key, least, CG_MOST);
    *out = value;
    *at = text;
    return CONVGEN_OK;
}

/* A name is a label: a long one is cut, between UTF-8 characters. */
static cg_status read_name(const char *text, char name[CG_NAME])
{
    bool quoted = *text == '"';
    if (quoted) text++;
    size_t length = strcspn(text, "\"");
    if (quoted && text[length] != '"')
        return cg_fail(CONVGEN_BAD_PROBLEM, "the name n\"%.24s has no closing quote", text);
    if (text[length] && (!quoted || text[length + 1]))
        return cg_fail(CONVGEN_BAD_PROBLEM, "\"%.24s\" stands after the name: the name ends a problem",
                       text + length + quoted);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            return cg_fail(CONVGEN_BAD_PROBLEM, "the name has a control character: printable ones are allowed");
    if (length >= CG_NAME)
        for (length = CG_NAME - 1; length && ((unsigned char)text[length] & 0xc0) == 0x80;) length--;
    memcpy(name, text, length);
    name[length] = 0;
    return CONVGEN_OK;
}

static cg_status read_fields(const char *at, fields *f, char name[CG_NAME])
{
    bool given[KEYS] = {false};
    while (*at) {
        if (*at == '_') {
            at++;
            continue;
        }
        if (*at == 'n') return read_name(at + 1, name);
        int key = find_key(at);
        if (key < 0) return unknown_key(at);
        if (given[key]) return cg_fail(CONVGEN_BAD_PROBLEM, "%s is given twice: once is allowed", key_rows[key].key);
        given[key] = true;
        at += strlen(key_rows[key].key);
        int64_t *value = (int64_t *)(void *)((char *)f + key_rows[key].offset);
        if (read_size(key_rows[key].key, key_rows[key].least, &at, value)) return CONVGEN_BAD_PROBLEM;
        for (int a = 0; a < 3; a++) f->pad_given[a] |= value == &f->p[a];
    }
    return CONVGEN_OK;
}

/* The leading pad that a given output size means: half of what is needed, none when the window already fits. (Of a transposed convolution
 * half of what the taps reach beyond the output.) */
static int64_t deduced_pad(const convgen_problem *p, int a)
{
    bool transposed = p->op == CONVGEN_TRANSPOSED;
    int64_t windows = transposed ? p->in[a] : p->out[a], room = transposed ? p->out[a] : p->in[a];
    int64_t needed = (windows - 1) * p->stride[a] + (p->kernel[a] - 1) * p->dilation[a] + 1 - room;
    return needed > 0 ? needed / 2 : 0;
}

/* A pad of 0 says nothing about a dimension, as in benchdnn; a negative one does. */
static bool axis_given(const fields *f, int a)
{
    return f->i[a] || f->k[a] || f->o[a] || f->d[a] || f->s[a] != 1 || f->p[a];
}

static cg_status deduce_axis(const fields *f, int a, convgen_problem *p)
{
    if (!f->i[a] || !f->k[a])
        return cg_fail(CONVGEN_BAD_PROBLEM,
                       "%c%c is missing: a dimension of which something is given needs i%c and k%c, 1 or more",
                       f->i[a] ? 'k' : 'i', axes[a], axes[a], axes[a]);
    p->in[a] = f->i[a], p->out[a] = f->o[a], p->kernel[a] = f->k[a], p->stride[a] = f->s[a],
    p->dilation[a] = f->d[a] + 1;
    bool deduced = f->o[a] && !f->pad_given[a];
    p->pad[a] = deduced ? deduced_pad(p, a) : f->p[a];
    return CONVGEN_OK;
}

static void copy_axis(convgen_problem *p, int to, int from)
{
    int64_t *sizes[] = {p->in, p->out, p->kernel, p->stride, p->dilation, p->pad};
    for (int i = 0; i < 6; i++) sizes[i][to] = from < 0 ? i < 5 : sizes[i][from];
}

static cg_status deduce(const fields *f, convgen_problem *p)
{
    bool there = false;
    if (!f->ic || !f->oc)
        return cg_fail(CONVGEN_BAD_PROBLEM, "%s is missing: a problem needs ic and oc", f->ic ? "oc" : "ic");
    p->batch = f->mb, p->groups = f->g, p->in_channels = f->ic, p->out_channels = f->oc;
    for (int a = 0; a < 3; a++) {
        if (!axis_given(f, a)) copy_axis(p, a, there ? a - 1 : -1);
        else if (deduce_axis(f, a, p)) return CONVGEN_BAD_PROBLEM;
        else there = true;
    }
    if (!there)
        return cg_fail(CONVGEN_BAD_PROBLEM,
                       "no spatial dimension: a problem needs iw and kw, or ih and kh, or id and kd");
    return CONVGEN_OK;
}

cg_status cg_problem_parse(const char *word, const cg_options *o, cg_named_problem *out)
{
    cg_named_problem n = {.problem = o->base, .threads = o->threads, .multiplicity = 1};
    fields f = {.g = 1, .mb = 2, .s = {1, 1, 1}};
    memcpy(n.target, o->target, sizeof n.target);
    cg_status status = read_fields(word, &f, n.name);
    if (!status) status = deduce(&f, &n.problem);
    if (!status && o->mb) n.problem.batch = o->mb;
    if (!status) status = cg_problem_normalise(&n.problem);
    if (!status) {
        *out = n;
    } else if (status == CONVGEN_BAD_PROBLEM) {
        char place[100];
        snprintf(place, sizeof place, "%.80s%s", word, strlen(word) > 80 ? "..." : "");
        cg_fail_at(status, place);
    }
    return status;
}

/* ---- the canonical spelling --------------------------------------------------------------------------------------- */

typedef struct {
    char text[CG_TEXT];
    size_t length;
} spelling;

static void add(spelling *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(spelling *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int written = vsnprintf(l->text + l->length, sizeof l->text - l->length, format, args);
    va_end(args);
    size_t room = sizeof l->text - 1 - l->length;
    if (written > 0) l->length += (size_t)written < room ? (size_t)written : room;
}

static void add_epilogue(spelling *l, const convgen_epilogue *e)
{
    char text[CG_EPILOGUE];
    cg_epilogue_write(e, text);
    if (*text) add(l, "--epilogue=%s ", text);
}

static void add_options(spelling *l, const convgen_problem *p)
{
    if (p->op != CONVGEN_CONVOLUTION) add(l, "--op=%s ", cg_op_name(p->op));
    if (p->pass != CONVGEN_FORWARD || !p->bias) add(l, "--dir=%s ", cg_pass_name(p));
    if (p->type) add(l, "--dt=%s ", cg_type_name(p->type));
    if (p->layout != CONVGEN_NHWC) add(l, "--tag=%s ", cg_tag_name(p->layout));
    if (p->accuracy != CONVGEN_LOOP) add(l, "--accuracy=%s ", cg_accuracy_name(p->accuracy));
    if (p->weights != CONVGEN_WEIGHTS_CHANGING) add(l, "--weights=%s ", cg_weights_name(p->weights));
    add_epilogue(l, &p->epilogue);
    if (p->src_pixel_stride) add(l, "--src-stride=%" PRId64 " ", p->src_pixel_stride);
    if (p->dst_pixel_stride) add(l, "--dst-stride=%" PRId64 " ", p->dst_pixel_stride);
    if (p->accumulate) add(l, "--accumulate ");
}

static void add_axes(spelling *l, char letter, const int64_t size[3], int first, int64_t base)
{
    for (int a = first; a < 3; a++) add(l, "%c%c%" PRId64, letter, axes[a], size[a] - base);
}

static bool differs(const int64_t a[3], const int64_t b[3], int first)
{
    return memcmp(a + first, b + first, (size_t)(3 - first) * sizeof *a) != 0;
}

/* Where the rank begins: the first dimension that is not one point. Rank 1 at least. */
static int first_axis(const convgen_problem *p)
{
    for (int a = 0; a < 2; a++)
        if (p->in[a] != 1 || p->out[a] != 1 || p->kernel[a] != 1 || p->stride[a] != 1 || p->dilation[a] != 1
            || p->pad[a])
            return a;
    return 2;
}

static void add_descriptor(spelling *l, const convgen_problem *p)
{
    static const int64_t zero[3] = {0, 0, 0}, one[3] = {1, 1, 1};
    int first = first_axis(p);
    int64_t silent[3]; /* the pads that a reader would deduce from the output sizes */
    for (int a = 0; a < 3; a++) silent[a] = deduced_pad(p, a);
    if (p->groups > 1) add(l, "g%" PRId64, p->groups);
    add(l, "mb%" PRId64 "ic%" PRId64, p->batch, p->in_channels);
    add_axes(l, 'i', p->in, first, 0);
    add(l, "oc%" PRId64, p->out_channels);
    add_axes(l, 'o', p->out, first, 0);
    add_axes(l, 'k', p->kernel, first, 0);
    if (differs(p->stride, one, first)) add_axes(l, 's', p->stride, first, 0);
    if (differs(p->pad, zero, first) || differs(silent, zero, first)) add_axes(l, 'p', p->pad, first, 0);
    if (differs(p->dilation, one, first)) add_axes(l, 'd', p->dilation, first, 1);
}

convgen_status convgen_problem_format(const convgen_problem *problem, char *text, size_t size)
{
    if (!problem || !text)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_problem_format: problem and text must not be NULL");
    convgen_problem p = *problem;
    cg_status status = cg_problem_normalise(&p);
    if (status) return status;
    spelling l = {.length = 0};
    add_options(&l, &p);
    add_descriptor(&l, &p);
    if (l.length >= size)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_problem_format: size is %zu, %zu bytes are needed", size,
                       l.length + 1);
    memcpy(text, l.text, l.length + 1);
    return CONVGEN_OK;
}
