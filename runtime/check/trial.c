/* trial.c: the operands of one problem, on which its candidates are judged one after another.
 *
 * Each kind of data is made once, in memory that tells when it was overrun: between guard pages, or red zones that are looked at
 * after a run. Nothing is judged here. */
#include "trial.h"
#include <math.h>
#include <string.h>

/* ---- memory that tells when it was overrun ----------------------------------------------------------------------------- */

enum { ZONE = 4096 };

/* A page of them again and again: memory is filled as fast as it takes it. */
void cg_fill_words(void *data, size_t size, uint32_t word)
{
    uint32_t words[1024];
    char *at = data;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) words[i] = word;
    for (; size >= sizeof words; at += sizeof words, size -= sizeof words) memcpy(at, words, sizeof words);
    if (size) memcpy(at, words, size);
}

/* What is beyond the operand in its heap, if there is one. */
static cg_status zones_of(block *b, size_t size, bool right)
{
    if (!b->heap) {
        *b = (block){0};
        return cg_fail(CONVGEN_NO_MEMORY, "no memory for an operand of %zu bytes", size);
    }
    b->data = b->heap + ZONE + (right ? cg_round64(size) - size : 0);
    cg_fill_words(b->heap, (size_t)(b->data - b->heap), poisons[BEYOND].word);
    cg_fill_words(b->data + size, (size_t)(b->heap + b->heap_size - (b->data + size)), poisons[BEYOND].word);
    return CONVGEN_OK;
}

cg_status cg_block_fit(block *b, size_t size, bool right, size_t alignment, bool guards)
{
    b->size = size;
    if (guards) {
        cg_status status = cg_guarded_fit(size, right, alignment, &b->guarded);
        b->data = b->guarded.data;
        return status;
    }
    if (b->heap_size < ZONE + cg_round64(size) + ZONE) {
        cg_free(b->heap);
        b->heap_size = ZONE + cg_round64(size) + ZONE;
        b->heap = cg_aligned(b->heap_size);
    }
    return zones_of(b, size, right);
}

cg_status cg_block_vast(block *b, size_t size, bool right, size_t alignment, bool guards)
{
    b->size = size;
    if (guards) {
        cg_status status = cg_guarded_new(size, right, alignment, &b->guarded);
        b->data = b->guarded.data;
        return status;
    }
    b->pages = true;
    b->heap_size = ZONE + cg_round64(size) + ZONE;
    b->heap = cg_pages(b->heap_size);
    return zones_of(b, size, right);
}

void cg_block_free(block *b)
{
    if (b->pages) cg_pages_free(b->heap, b->heap_size);
    else b->heap ? cg_free(b->heap) : cg_guarded_free(&b->guarded);
    memset(b, 0, sizeof *b);
}

static bool zone_intact(const char *from, const char *to)
{
    for (; from < to; from += sizeof(uint32_t))
        if (memcmp(from, &poisons[BEYOND].word, sizeof(uint32_t)) != 0) return false;
    return true;
}

const char *cg_block_overrun(const block *b)
{
    if (!b->heap) return NULL; /* it would have crashed */
    if (!zone_intact(b->heap, b->data)) return "before the start";
    if (!zone_intact(b->data + b->size, b->heap + b->heap_size)) return "beyond the end";
    return NULL;
}

/* ---- data --------------------------------------------------------------------------------------------------------------- */

/* Eight bytes a step: operands are large and hashed after every run. */
uint64_t cg_fast_hash(const void *data, size_t size)
{
    uint64_t h = 0x9E3779B97F4A7C15u, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, (const char *)data + i, 8);
        h = (h ^ word) * 0xD6E8FEB86659FD93u;
        h ^= h >> 29;
    }
    return cg_hash((const char *)data + i, size - i, h);
}

cg_status cg_trial_new(const convgen_problem *p, bool guards, cg_trial **out)
{
    cg_trial *t = cg_calloc(1, sizeof *t);
    *out = t;
    if (!t) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a trial");
    t->p = cg_problem_dense(p);
    t->asked = *p;
    t->guards = guards;
    cg_roles(p, t->role_of);
    cg_tensor_bytes(&t->p, t->bytes);
    return CONVGEN_OK;
}

void cg_set_free(set *s)
{
    for (int i = 0; i < CG_TENSORS; i++) cg_block_free(&s->tensor[i]), cg_block_free(&s->wide[i]);
    for (int i = 0; i < 2; i++) cg_free(s->expected[i]), cg_free((void *)s->o.old[i]);
    memset(s, 0, sizeof *s);
}

void cg_trial_free(cg_trial *t)
{
    if (!t) return;
    for (int i = 0; i < SETS; i++) cg_set_free(&t->sets[i]);
    cg_block_free(&t->bench.workspace);
    cg_block_free(&t->bench.packed);
    cg_room_free(&t->room);
    cg_pool_free(t->pool);
    cg_free(t);
}

const convgen_problem *cg_trial_problem(const cg_trial *t)
{
    return &t->p;
}

static int64_t elements(const cg_trial *t, int tensor) { return (int64_t)(t->bytes[tensor] / cg_element(&t->p, tensor)); }

poison cg_poison_place(const cg_trial *t, set *s, double value, uint64_t seed)
{
    int tensor = cg_data_tensor(&t->p);
    convgen_problem as_output = t->p; /* whose outputs are that tensor */
    as_output.pass = tensor == CG_DST ? CONVGEN_FORWARD : CONVGEN_BACKWARD_DATA;
    poison n = {.tensor = tensor, .element = (int64_t)(cg_mix(t->bytes[tensor] + seed) % (uint64_t)elements(t, tensor))};
    cg_output_place(&as_output, false, n.element, n.place);
    n.was = cg_get(cg_tensor_type(&t->p, tensor), s->tensor[tensor].data, n.element);
    cg_put(cg_tensor_type(&t->p, tensor), s->tensor[tensor].data, n.element, value);
    return n;
}

void cg_poison_take_back(const cg_trial *t, set *s, const poison *n)
{
    cg_put(cg_tensor_type(&t->p, n->tensor), s->tensor[n->tensor].data, n->element, n->was);
}

/* The weights' NaN reaches one channel of the result, all but the outputs that have its tap in the padding: so that some have,
 * the tap is the first one. Another channel must be left to be compared. */
static int64_t weight_nan(const cg_trial *t)
{
    const convgen_problem *p = &t->p;
    if (t->role_of[CG_WEIGHTS] != CG_INPUT || (p->pass == CONVGEN_FORWARD ? p->out_channels : p->in_channels) == 1) return -1;
    int64_t taps = p->kernel[0] * p->kernel[1] * p->kernel[2];
    int64_t channels = elements(t, CG_WEIGHTS) / taps;
    int64_t channel = (int64_t)(cg_mix(t->bytes[CG_WEIGHTS]) % (uint64_t)channels);
    return p->layout == CONVGEN_NHWC ? channel : channel * taps;
}

enum { NOISE = 16381 /* elements: a prime */, STRIPE = 4096 };

/* Noise that comes again and again, and where in it a tensor begins. */
typedef struct roll {
    const char *noise;
    size_t bytes, phase;
} roll;

static size_t unroll(const roll *r, char *data, size_t from, size_t to)
{
    for (size_t i = from, n; i < to; i += n) {
        size_t at = (i + r->phase) % r->bytes;
        n = r->bytes - at < to - i ? r->bytes - at : to - i;
        memcpy(data + i, r->noise + at, n);
    }
    return to - from;
}

/* At most so many bytes of a tensor: its beginning, its end, and stripes between. The rest stays zero. */
static size_t sketch(const roll *r, char *data, size_t bytes, size_t most)
{
    if (bytes <= most) return unroll(r, data, 0, bytes);
    size_t end = most / 4 / STRIPE * STRIPE, stripes = most / 2 / STRIPE, cell = (bytes - 2 * end) / (stripes ? stripes : 1);
    size_t filled = unroll(r, data, 0, end) + unroll(r, data, bytes - end, bytes);
    for (size_t i = 0; i < stripes; i++) {
        size_t from = end + i * cell + (cell > STRIPE ? cg_mix(i) % (cell - STRIPE) / 64 * 64 : 0);
        filled += unroll(r, data, from, from + STRIPE);
    }
    return filled;
}

static int inputs_of(const cg_trial *t)
{
    int count = 0;
    for (int i = 0; i < CG_TENSORS; i++) count += t->role_of[i] == CG_INPUT;
    return count;
}

/* The smallest input that is not done. */
static int least_of(const cg_trial *t, const bool done[CG_TENSORS])
{
    int least = -1;
    for (int i = 0; i < CG_TENSORS; i++)
        if (t->role_of[i] == CG_INPUT && !done[i] && (least < 0 || t->bytes[i] < t->bytes[least])) least = i;
    return least;
}

/* Small inputs whole, of large ones an equal share of what is left. */
static cg_status set_sketch(cg_trial *t, set *s)
{
    size_t left = t->sketched;
    int made = -1; /* the type that the noise has */
    bool done[CG_TENSORS] = {false};
    char *noise = cg_malloc(NOISE * sizeof(double));
    if (!noise) return cg_fail(CONVGEN_NO_MEMORY, "no memory for the data of a sample");
    t->filled = 0;
    for (int waiting = inputs_of(t); waiting > 0; waiting--) {
        int least = least_of(t, done);
        convgen_type type = cg_tensor_type(&t->p, least);
        if (made != (int)type) cg_fill_noise(type, noise, NOISE);
        made = (int)type;
        roll own = {noise, NOISE * cg_types[type].bytes, (size_t)least * 5003 * cg_types[type].bytes};
        size_t filled = sketch(&own, s->tensor[least].data, t->bytes[least], left / (size_t)waiting);
        done[least] = true;
        left -= filled;
        t->filled += filled;
    }
    cg_free(noise);
    return CONVGEN_OK;
}

static void set_fill(const cg_trial *t, kind which, set *s)
{
    const cg_type_row *type = &cg_types[t->p.type];
    for (int i = 0; i < CG_TENSORS; i++) {
        if (t->role_of[i] != CG_INPUT) continue;
        if (which == INTEGERS) cg_fill_integers(&t->p, i, s->tensor[i].data, t->bytes[i], type->exact);
        else if (which == SMALL) cg_fill_integers(&t->p, i, s->tensor[i].data, t->bytes[i], type->careful);
        else cg_fill(&t->p, CONVGEN_UNIFORM, i, s->tensor[i].data, t->bytes[i], 0);
    }
    if (which != INTEGERS) return;
    s->nan = cg_poison_place(t, s, NAN, 0);
    s->weight_nan = weight_nan(t);
    if (s->weight_nan >= 0) cg_put(cg_tensor_type(&t->p, CG_WEIGHTS), s->tensor[CG_WEIGHTS].data, s->weight_nan, NAN);
}

void cg_set_hash(const cg_trial *t, set *s)
{
    if (s->hashed) return;
    for (int i = 0; i < CG_TENSORS; i++)
        if (t->role_of[i] == CG_INPUT) s->hash[i] = cg_fast_hash(s->tensor[i].data, t->bytes[i]);
    s->hashed = true;
}

static cg_status make_block(const cg_trial *t, kind which, int tensor, size_t bytes, block *b)
{
    size_t element = cg_element(&t->p, tensor);
    if (which == SKETCH && !t->whole) return cg_block_vast(b, bytes, true, element, t->guards);
    return cg_block_fit(b, bytes, which == RANDOM || which == SKETCH, element, t->guards || which == PLAIN);
}

/* A tensor; and of a slice the memory that a kernel is given. */
static cg_status make_tensor(const cg_trial *t, kind which, int tensor, set *s)
{
    size_t wide[CG_TENSORS];
    cg_tensor_bytes(&t->asked, wide);
    cg_status status = make_block(t, which, tensor, t->bytes[tensor], &s->tensor[tensor]);
    s->o.at[tensor] = s->given.at[tensor] = s->tensor[tensor].data;
    if (status || !cg_is_slice(&t->asked, tensor)) return status;
    status = make_block(t, which, tensor, wide[tensor], &s->wide[tensor]);
    s->given.at[tensor] = s->wide[tensor].data;
    return status;
}

/* What outputs are added to. Of a problem that is not filled it is zero but where outputs are looked at (sample.c). */
static cg_status make_old(cg_trial *t, kind which, set *s)
{
    const cg_type_row *type = &cg_types[t->p.type];
    bool zero = which == SKETCH && !t->whole;
    for (int i = 0; i < cg_output_count(&t->p) && t->p.accumulate; i++) {
        int tensor = cg_output_tensor(&t->p, i);
        size_t bytes = t->bytes[tensor];
        void *old = zero ? cg_calloc(bytes, 1) : cg_malloc(bytes);
        s->o.old[i] = old;
        if (!old) return cg_fail(CONVGEN_NO_MEMORY, "no memory for %zu bytes that outputs are added to", bytes);
        if (which == INTEGERS || which == SMALL) cg_fill_integers(&t->p, tensor, old, bytes, which == SMALL ? type->careful : type->exact);
        else if (!zero) cg_fill(&t->p, CONVGEN_UNIFORM, tensor, old, bytes, 0);
    }
    return CONVGEN_OK;
}

static uint32_t between(bool integers) { return integers ? (uint32_t)LARGE : poisons[BETWEEN].word; }
void cg_set_put(const cg_trial *t, set *s, bool integers) { cg_slices_put(&t->asked, &s->o, &s->given, between(integers)); }
int cg_set_take(const cg_trial *t, set *s, bool integers) { return cg_slices_take(&t->asked, &s->given, &s->o, between(integers)); }

cg_status cg_set_make(cg_trial *t, kind which)
{
    set *s = &t->sets[which];
    cg_status status = CONVGEN_OK;
    if (s->made) return CONVGEN_OK;
    for (int i = 0; i < CG_TENSORS && !status; i++) {
        if (t->role_of[i] == CG_ABSENT) continue;
        if (!(status = cg_in_time())) status = make_tensor(t, which, i, s); /* of GBs each takes seconds */
    }
    if (!status) status = make_old(t, which, s);
    if (!status && which == SKETCH) status = set_sketch(t, s);
    else if (!status) set_fill(t, which, s);
    if (!status) status = cg_in_time(); /* late, they are not whole */
    if (status) cg_set_free(s);
    else s->made = true;
    return status;
}

cg_status cg_trial_data(cg_trial *t, cg_operands *out)
{
    set *s = &t->sets[PLAIN];
    cg_status status = cg_set_make(t, PLAIN);
    if (!status) {
        cg_old_put(&t->p, &s->o);
        cg_set_put(t, s, false);
    }
    *out = s->given;
    return status;
}

cg_status cg_trial_answer(cg_trial *t, const cg_kernel *k, const cg_parallel *par, const cg_room *room, cg_operands *dense)
{
    cg_operands given;
    set *s = &t->sets[PLAIN];
    cg_status status = cg_trial_data(t, &given);
    if (!status && k) status = cg_kernel_answer(k, par, &given, room);
    if (!status && k) (void)cg_set_take(t, s, false);
    *dense = s->o;
    return status;
}

cg_status cg_trial_room(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_room *out)
{
    cg_status status = cg_room_fit(k, par, &t->p, &t->room);
    *out = t->room;
    return status;
}
