/* problem.c: problem text to problem and back, what is legal, how large it is.
 *
 * The notation and its deductions are benchdnn's (oneDNN, tests/benchdnn); negative pads, --accuracy, --weights, --epilogue,
 * --threads, --target and a list's trailing *N are ours. A normalised problem has every size >= 1, at most 2^31-1, and index
 * arithmetic on it cannot overflow int64. One spelling is canonical: parse(format(p)) = p.
 * Nothing here knows how a convolution is computed. */
#define _GNU_SOURCE /* uselocale */
#include "internal.h"
#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 1024, LIST_DEPTH = 8, LIST_BYTES = 16 << 20, MOST_THREADS = 4096, MOST_LAYERS = 1000000 };
static const int64_t MOST = INT32_MAX; /* of any dimension; so out*stride + kernel*dilation + pad stays within int64 */
static const char axes[] = "dhw";

/* ---- names ------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    int value;
} name_row; /* the first row of a value is its canonical name; others are synonyms; NULL ends */

static const name_row types[] = {{"f32", CONVGEN_F32}, {"f64", CONVGEN_F64}, {NULL, 0}};
static const name_row tags[] = {{"nhwc", CONVGEN_NHWC},  {"nchw", CONVGEN_NCHW},  {"axb", CONVGEN_NHWC},
                                {"abx", CONVGEN_NCHW},   {"nwc", CONVGEN_NHWC},   {"ncw", CONVGEN_NCHW},
                                {"ndhwc", CONVGEN_NHWC}, {"ncdhw", CONVGEN_NCHW}, {NULL, 0}};
static const name_row accuracies[] = {
    {"loop", CONVGEN_LOOP}, {"proven", CONVGEN_PROVEN}, {"2x", CONVGEN_2X}, {"8x", CONVGEN_8X}, {NULL, 0}};
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

const char *cg_type_name(convgen_type t) { return name_of(types, (int)t); }
const char *cg_tag_name(convgen_layout l) { return name_of(tags, (int)l); }
const char *cg_accuracy_name(convgen_accuracy a) { return name_of(accuracies, (int)a); }
const char *cg_weights_name(convgen_weights w) { return name_of(weightings, (int)w); }

const char *cg_pass_name(const convgen_problem *p)
{
    for (int i = 0; i < DIRECTIONS; i++)
        if (directions[i].pass == p->pass && directions[i].bias == p->bias) return directions[i].name;
    return "?";
}

/* Numbers of a text that travels between machines are in the C locale, whatever the host program has set. */
static double read_real(const char *text, char **end)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), old = c ? uselocale(c) : (locale_t)0;
    double value = strtod(text, end);
    if (c) uselocale(old), freelocale(c);
    return value;
}

static void write_real(double value, char text[32])
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), old = c ? uselocale(c) : (locale_t)0;
    for (int digits = 1; digits <= 17; digits++) { /* the shortest that reads back */
        snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    if (c) uselocale(old), freelocale(c);
}

/* ---- legality and sizes ------------------------------------------------------------------------------------------ */

static int64_t reach(int64_t kernel, int64_t dilation) { return (kernel - 1) * dilation + 1; }

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); } /* b > 0 */

/* The leading pad that a given output size means: half of what is needed, none when the window already fits. */
static int64_t deduced_pad(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation)
{
    int64_t needed = (out - 1) * stride + reach(kernel, dilation) - in;
    return needed > 0 ? needed / 2 : 0;
}

/* shift: how much less the text says than the struct, 1 for dilation. */
static cg_status check_size(const char *name, char axis, int64_t value, int64_t least, int64_t shift)
{
    if (value >= least && value <= MOST) return CONVGEN_OK;
    char dimension[2] = {axis, 0};
    if (value > INT64_MIN) value -= shift;
    return cg_fail(CONVGEN_BAD_PROBLEM, "%s%s is %" PRId64 ": allowed is %" PRId64 " to %" PRId64, name, dimension,
                   value, least - shift, MOST - shift);
}

static cg_status default_size(const char *name, char axis, int64_t *value)
{
    if (*value == 0) *value = 1;
    return check_size(name, axis, *value, 1, 0);
}

static cg_status normalise_axis(convgen_problem *p, int a)
{
    struct {
        const char *name;
        int64_t *value;
    } sizes[] = {{"i", &p->in[a]}, {"k", &p->kernel[a]}, {"s", &p->stride[a]}};
    for (int i = 0; i < 3; i++)
        if (default_size(sizes[i].name, axes[a], sizes[i].value)) return CONVGEN_BAD_PROBLEM;
    if (p->dilation[a] == 0) p->dilation[a] = 1;
    if (check_size("d", axes[a], p->dilation[a], 1, 1) || check_size("p", axes[a], p->pad[a], -MOST, 0))
        return CONVGEN_BAD_PROBLEM;
    if (p->out[a] == 0) {
        int64_t window = reach(p->kernel[a], p->dilation[a]), room = p->in[a] + 2 * p->pad[a];
        p->out[a] = floor_divide(room - window, p->stride[a]) + 1;
        if (p->out[a] < 1)
            return cg_fail(
                CONVGEN_BAD_PROBLEM,
                "the output is empty along %c: i%c%" PRId64 " with p%c%" PRId64 " on both sides has room for %" PRId64
                ", the kernel k%c%" PRId64 " reaches over %" PRId64 "; o%c must be at least 1",
                axes[a], axes[a], p->in[a], axes[a], p->pad[a], room, axes[a], p->kernel[a], window, axes[a]);
    }
    return check_size("o", axes[a], p->out[a], 1, 0);
}

/* Elements times 16: room for any element type and for doubling an offset. */
static bool countable(const int64_t *sizes, int count)
{
    int64_t product = 16;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(product, sizes[i], &product)) return false;
    return true;
}

static cg_status check_tensors(const convgen_problem *p)
{
    struct {
        const char *name, *made_of;
        int64_t sizes[5];
    } tensors[] = {
        {"src", "mb, ic, id, ih, iw", {p->batch, p->in_channels, p->in[0], p->in[1], p->in[2]}},
        {"dst", "mb, oc, od, oh, ow", {p->batch, p->out_channels, p->out[0], p->out[1], p->out[2]}},
        {"weights",
         "ic/g, oc, kd, kh, kw",
         {p->in_channels / p->groups, p->out_channels, p->kernel[0], p->kernel[1], p->kernel[2]}},
    };
    for (int i = 0; i < 3; i++)
        if (!countable(tensors[i].sizes, 5))
            return cg_fail(CONVGEN_BAD_PROBLEM, "%s has too many elements: the product of %s must stay below 2^59",
                           tensors[i].name, tensors[i].made_of);
    return CONVGEN_OK;
}

static cg_status check_channels(const convgen_problem *p)
{
    struct {
        const char *name;
        int64_t channels;
    } rows[] = {{"ic", p->in_channels}, {"oc", p->out_channels}};
    for (int i = 0; i < 2; i++)
        if (rows[i].channels % p->groups)
            return cg_fail(CONVGEN_BAD_PROBLEM,
                           "g%" PRId64 " does not divide %s%" PRId64 ": the groups must share ic and oc evenly",
                           p->groups, rows[i].name, rows[i].channels);
    return CONVGEN_OK;
}

static cg_status check_enums(const convgen_problem *p)
{
    struct {
        const char *name;
        unsigned value, count;
    } rows[] = {{"pass", p->pass, 3},         {"type", p->type, 2},       {"layout", p->layout, 2},
                {"accuracy", p->accuracy, 4}, {"weights", p->weights, 2}, {"activation", p->epilogue.activation, 3}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].value >= rows[i].count)
            return cg_fail(CONVGEN_BAD_PROBLEM, "%s is %u: allowed is 0 to %u, see convgen.h", rows[i].name,
                           rows[i].value, rows[i].count - 1);
    if (p->src_pixel_stride || p->dst_pixel_stride || p->accumulate)
        return cg_fail(CONVGEN_UNSUPPORTED,
                       "src_pixel_stride, dst_pixel_stride and accumulate are reserved: they must be 0");
    return CONVGEN_OK;
}

static cg_status normalise_epilogue(convgen_problem *p)
{
    convgen_epilogue *e = &p->epilogue;
    if (p->bias && p->pass == CONVGEN_BACKWARD_DATA)
        return cg_fail(CONVGEN_BAD_PROBLEM, "backward data has no bias: it is of FWD_B and BWD_WB only");
    if (e->activation != CONVGEN_CLAMP) e->lo = e->hi = 0;
    if (p->pass != CONVGEN_FORWARD && (e->residual || e->activation != CONVGEN_NONE))
        return cg_fail(CONVGEN_BAD_PROBLEM,
                       "--dir=%s has no epilogue: only a forward pass has one (else --epilogue=none)", cg_pass_name(p));
    if (!(e->lo <= e->hi)) /* NaN as well */
        return cg_fail(CONVGEN_BAD_PROBLEM,
                       "clamp from %g to %g: the lower bound must not be above the upper one, nor NaN", e->lo, e->hi);
    e->lo += 0.0, e->hi += 0.0; /* -0 and 0 are one problem */
    return CONVGEN_OK;
}

static cg_status normalise(convgen_problem *p)
{
    struct {
        const char *name;
        int64_t *value;
    } counts[] = {{"mb", &p->batch}, {"g", &p->groups}, {"ic", &p->in_channels}, {"oc", &p->out_channels}};
    cg_status status = check_enums(p);
    for (int i = 0; i < 4 && !status; i++)
        status = i < 2 ? default_size(counts[i].name, 0, counts[i].value)
                       : check_size(counts[i].name, 0, *counts[i].value, 1, 0);
    for (int a = 0; a < 3 && !status; a++) status = normalise_axis(p, a);
    if (!status) status = check_channels(p);
    if (!status) status = check_tensors(p);
    if (!status) status = normalise_epilogue(p);
    return status;
}

cg_status cg_problem_normalise(convgen_problem *p)
{
    convgen_problem copy = *p;
    cg_status status = normalise(&copy);
    if (!status) *p = copy;
    return status;
}

cg_sizes cg_problem_sizes(const convgen_problem *p)
{
    int64_t in = p->in[0] * p->in[1] * p->in[2], out = p->out[0] * p->out[1] * p->out[2];
    int64_t kernel = p->kernel[0] * p->kernel[1] * p->kernel[2];
    cg_sizes s = {.src = p->batch * in * p->in_channels,
                  .weights = kernel * (p->in_channels / p->groups) * p->out_channels,
                  .bias = p->out_channels,
                  .dst = p->batch * out * p->out_channels,
                  .element = p->type == CONVGEN_F64 ? 8 : 4};
    s.macs = (double)s.dst * (double)kernel * (double)(p->in_channels / p->groups);
    return s;
}

static bool same(const int64_t a[3], const int64_t b[3]) { return !memcmp(a, b, 3 * sizeof *a); }

bool cg_problem_equal(const convgen_problem *a, const convgen_problem *b)
{
    return a->pass == b->pass && a->type == b->type && a->layout == b->layout && a->accuracy == b->accuracy
           && a->weights == b->weights && a->batch == b->batch && a->groups == b->groups
           && a->in_channels == b->in_channels && a->out_channels == b->out_channels && same(a->in, b->in)
           && same(a->out, b->out) && same(a->kernel, b->kernel) && same(a->stride, b->stride)
           && same(a->dilation, b->dilation) && same(a->pad, b->pad) && a->bias == b->bias
           && a->epilogue.residual == b->epilogue.residual && a->epilogue.activation == b->epilogue.activation
           && a->epilogue.lo == b->epilogue.lo && a->epilogue.hi == b->epilogue.hi
           && a->src_pixel_stride == b->src_pixel_stride && a->dst_pixel_stride == b->dst_pixel_stride
           && a->accumulate == b->accumulate;
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

static bool take_dt(cg_options *o, const char *value)
{
    int type;
    return value_of(types, value, &type) && (o->base.type = (convgen_type)type, true);
}

static bool take_tag(cg_options *o, const char *value)
{
    int layout;
    return value_of(tags, value, &layout) && (o->base.layout = (convgen_layout)layout, true);
}

static bool take_accuracy(cg_options *o, const char *value)
{
    int accuracy;
    return value_of(accuracies, value, &accuracy) && (o->base.accuracy = (convgen_accuracy)accuracy, true);
}

static bool take_weights(cg_options *o, const char *value)
{
    int weights;
    return value_of(weightings, value, &weights) && (o->base.weights = (convgen_weights)weights, true);
}

/* All of `text` as a decimal number from `least` to `most`. */
static bool whole_number(const char *text, int64_t least, int64_t most, int64_t *out)
{
    int64_t value = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        value = value * 10 + (*text - '0');
        if (value > most) return false;
    }
    return value >= least && (*out = value, true);
}

static bool take_mb(cg_options *o, const char *value) { return whole_number(value, 0, MOST, &o->mb); }

static bool take_threads(cg_options *o, const char *value)
{
    int64_t threads;
    return whole_number(value, 1, MOST_THREADS, &threads) && (o->threads = (int)threads, true);
}

static bool take_target(cg_options *o, const char *value)
{
    size_t length = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_.-");
    if (!length || value[length] || length >= sizeof o->target) return false;
    memcpy(o->target, value, length + 1);
    return true;
}

static bool read_clamp(const char *text, convgen_epilogue *e)
{
    char *end;
    e->activation = CONVGEN_CLAMP;
    e->lo = read_real(text, &end);
    if (end == text || *end != ':') return false;
    text = end + 1;
    e->hi = read_real(text, &end);
    return end != text && !*end && e->lo <= e->hi;
}

static bool read_activation(const char *text, convgen_epilogue *e)
{
    if (!strcmp(text, "relu")) return e->activation = CONVGEN_RELU, true;
    return !strncmp(text, "clamp:", 6) && read_clamp(text + 6, e);
}

/* In the order in which it is computed: the residual first. */
static bool take_epilogue(cg_options *o, const char *value)
{
    convgen_epilogue e = {0};
    if (!strncmp(value, "residual", 8)) {
        e.residual = true;
        value += 8;
        if (*value && *value++ != '+') return false;
        if (value[-1] == '+' && !read_activation(value, &e)) return false;
    } else if (strcmp(value, "none") && !read_activation(value, &e)) {
        return false;
    }
    o->base.epilogue = e;
    return true;
}

static const struct {
    const char *key, *allowed;
    bool (*take)(cg_options *o, const char *value);
} option_rows[] = {
    {"--dir", "FWD_D, FWD_B, FWD_I, BWD_D, BWD_W, BWD_WB", take_dir},
    {"--dt", "f32, f64", take_dt},
    {"--tag", "nhwc (or axb, nwc, ndhwc), nchw (or abx, ncw, ncdhw)", take_tag},
    {"--mb", "0 (as the problem says) to 2147483647", take_mb},
    {"--accuracy", "loop, proven, 2x, 8x", take_accuracy},
    {"--weights", "changing, fixed", take_weights},
    {"--epilogue", "none, residual, relu, clamp:LO:HI with LO <= HI, residual+relu, residual+clamp:LO:HI",
     take_epilogue},
    {"--threads", "1 to 4096", take_threads},
    {"--target", "a target's name, such as avx2", take_target},
};
enum { OPTIONS = sizeof option_rows / sizeof option_rows[0] };

cg_status cg_option_take(cg_options *o, const cg_options *initial, const char *word)
{
    if (!strcmp(word, "--reset")) {
        if (initial) *o = *initial;
        else cg_options_default(o);
        return CONVGEN_OK;
    }
    size_t length = strcspn(word, "=");
    for (int i = 0; i < OPTIONS; i++) {
        if (strlen(option_rows[i].key) != length || strncmp(option_rows[i].key, word, length)) continue;
        if (word[length] && option_rows[i].take(o, word + length + 1)) return CONVGEN_OK;
        return cg_fail(CONVGEN_BAD_PROBLEM, "%.80s: allowed is %s=VALUE with %s", word, option_rows[i].key,
                       option_rows[i].allowed);
    }
    return CONVGEN_UNSUPPORTED;
}

static cg_status unknown_option(const char *word)
{
    char keys[256] = "";
    for (int i = 0; i < OPTIONS; i++) {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, "%s, ", option_rows[i].key);
    }
    return cg_fail(CONVGEN_BAD_PROBLEM, "unknown option %.80s: a problem's options are %s--reset", word, keys);
}

/* ---- one problem ------------------------------------------------------------------------------------------------- */

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
        if (value <= MOST) value = value * 10 + (*text - '0');
    if (negative) value = -value;
    if (value < least || value > MOST)
        return cg_fail(CONVGEN_BAD_PROBLEM, "%s%.*s: %s must be %" PRId64 " to %" PRId64, key,
                       (int)(text - *at < 24 ? text - *at : 24), *at, key, least, MOST);
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
    p->pad[a] = deduced ? deduced_pad(f->i[a], f->o[a], f->k[a], f->s[a], f->d[a] + 1) : f->p[a];
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

/* Puts a place before the error sentence. */
static cg_status fail_at(cg_status status, const char *place)
{
    char text[768];
    snprintf(text, sizeof text, "%s", cg_error_text());
    return cg_fail(status, "%s: %s", place, text);
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
        fail_at(status, place);
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
    if (!e->residual && e->activation == CONVGEN_NONE) return;
    add(l, "--epilogue=%s%s", e->residual ? "residual" : "", e->residual && e->activation ? "+" : "");
    if (e->activation == CONVGEN_RELU) add(l, "relu");
    if (e->activation == CONVGEN_CLAMP) {
        char lo[32], hi[32];
        write_real(e->lo, lo), write_real(e->hi, hi);
        add(l, "clamp:%s:%s", lo, hi);
    }
    add(l, " ");
}

static void add_options(spelling *l, const convgen_problem *p)
{
    if (p->pass != CONVGEN_FORWARD || !p->bias) add(l, "--dir=%s ", cg_pass_name(p));
    if (p->type != CONVGEN_F32) add(l, "--dt=%s ", cg_type_name(p->type));
    if (p->layout != CONVGEN_NHWC) add(l, "--tag=%s ", cg_tag_name(p->layout));
    if (p->accuracy != CONVGEN_LOOP) add(l, "--accuracy=%s ", cg_accuracy_name(p->accuracy));
    if (p->weights != CONVGEN_WEIGHTS_CHANGING) add(l, "--weights=%s ", cg_weights_name(p->weights));
    add_epilogue(l, &p->epilogue);
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
    for (int a = 0; a < 3; a++)
        silent[a] = deduced_pad(p->in[a], p->out[a], p->kernel[a], p->stride[a], p->dilation[a]);
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

/* ---- words and lists ---------------------------------------------------------------------------------------------- */

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
    return status == CONVGEN_UNSUPPORTED ? unknown_option(word) : status;
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

cg_status cg_list_add(cg_problem_list *list, const cg_named_problem *p)
{
    if (list->count == list->room) {
        int room = list->room ? 2 * list->room : 16; /* a list of 16 MB cannot hold 2^30 problems */
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
    int depth;
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
    if (!whole_number(word + 1, 1, MOST_LAYERS, &times))
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
    return fail_at(status, place);
}

static cg_status read_list(reader *r, const char *path)
{
    cg_buffer text = {NULL, 0, 0, false};
    r->depth++;
    cg_status status = cg_read_file(path, LIST_BYTES, &text);
    if (!status && text.text) {
        words w = {text.text, text.text + text.length, 1};
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
