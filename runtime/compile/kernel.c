/* kernel.c: a schedule -> a kernel that runs: source and code together, its stages called one after another.
 *
 * Limit: runs it on the memory that it is given and believes it; whether it may be trusted is verify.c's. */
#include "compile/compile.h"
#include <math.h>
#include <string.h>

static size_t scratch_bytes(const cg_kernel *k)
{
    size_t most = 0;
    for (int i = 0; i < k->source.stage_count; i++)
        if (k->source.stage[i].scratch > most) most = k->source.stage[i].scratch;
    return cg_round64(most);
}

/* The functions of its stages. */
static cg_status find_stages(const char *name, cg_kernel *k, char why[CG_WHY])
{
    for (int i = 0; i < k->source.stage_count; i++) {
        const char *symbol = k->source.stage[i].symbol;
        void *address = cg_code_symbol(k->code, symbol);
        memcpy(&k->stage[i], &address, sizeof address); /* ISO C has no cast from data to function */
        if (address) continue;
        snprintf(why, CG_WHY, "the compiled code has no function %s", symbol);
        return cg_fail(CONVGEN_INTERNAL, "%s: %s", name, why);
    }
    return CONVGEN_OK;
}

cg_status cg_kernel_compile(cg_source *taken, const cg_making *how, cg_kernel *out, char why[CG_WHY])
{
    *out = (cg_kernel){.source = *taken};
    *taken = (cg_source){0};
    cg_status status = cg_code_new(out->source.text, how->compiler, how->flags, &out->code, why);
    if (!status) status = find_stages(how->schedule, out, why);
    cg_free(out->source.text);
    out->source.text = NULL;
    if (status) cg_kernel_free(out);
    return status;
}

cg_status cg_kernel_new(cg_script *s, const cg_request *r, const cg_making *how, cg_kernel *out, char why[CG_WHY])
{
    *out = (cg_kernel){0};
    why[0] = 0;
    cg_source source;
    cg_request request = *r;
    request.unrolls = strcmp(how->compiler, "tcc") != 0;
    cg_status status = cg_script_source(s, &request, how->schedule, &source, why);
    if (!status) status = cg_kernel_compile(&source, how, out, why);
    if (!status) out->machine = !strcmp(r->form, "machine");
    return status;
}

void cg_kernel_free(cg_kernel *k)
{
    cg_source_free(&k->source);
    cg_code_free(k->code);
    memset(k, 0, sizeof *k);
}

size_t cg_kernel_workspace(const cg_kernel *k, int threads)
{
    return cg_round64(k->source.packed) + cg_round64(k->source.shared) + scratch_bytes(k) * (size_t)threads;
}

typedef struct stage_task {
    cg_stage_fn *run;
    const cg_call *call;
    char *scratch;
    size_t scratch_bytes;
} stage_task;

static void stage_share(void *task, long first, long last, int thread)
{
    const stage_task *t = task;
    t->run(t->call, t->scratch + (size_t)thread * t->scratch_bytes, first, last);
}

typedef enum { PACK = 1, COMPUTE = 2 } phases;
enum { PROBED = 8 }; /* tasks of a stage, at least */

static cg_status run_whole(const cg_parallel *par, const cg_stage *s, stage_task *t)
{
    cg_parallel_run(par, s->tasks, stage_share, t);
    return CONVGEN_OK;
}

typedef cg_status stage_runner(const cg_parallel *par, const cg_stage *s, stage_task *t);

static cg_status run_stages(const cg_kernel *k, const cg_parallel *par, const cg_call *call, int which, stage_runner *run)
{
    char *scratch = (char *)call->shared + cg_round64(k->source.shared);
    stage_task t = {NULL, call, scratch, scratch_bytes(k)};
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < k->source.stage_count && !status; i++) {
        const cg_stage *s = &k->source.stage[i];
        if (!(which & (s->pack ? PACK : COMPUTE))) continue;
        t.run = k->stage[i];
        status = run(par, s, &t);
    }
    return status;
}

/* Seconds that the stage will take, by its first task; by its second one too when the first was slow, which may only have met memory
 * for the first time. 0 where there are few tasks: that would cost too much. They are independent: running one again changes nothing (but of a stage
 * that runs once). */
static double probe(const cg_parallel *par, const cg_stage *s, stage_task *t)
{
    double least = INFINITY, left = cg_deadline() - cg_now();
    for (long i = 0; i < 2 && s->tasks >= PROBED && !s->once; i++) {
        double start = cg_now();
        t->run(t->call, t->scratch, i, i + 1);
        least = fmin(least, (cg_now() - start) * (double)s->tasks / par->threads);
        if (least <= left) break;
    }
    return isfinite(least) ? least : 0;
}

static cg_status stage_in_time(const cg_parallel *par, const cg_stage *s, stage_task *t)
{
    double seconds = probe(par, s, t);
    if (cg_late()) return cg_in_time();
    if (seconds > cg_deadline() - cg_now())
        return cg_fail(CONVGEN_CANCELLED, "a run of it takes about %.2g s, which is longer than the time that is left", seconds);
    cg_parallel_run(par, s->tasks, stage_share, t);
    return CONVGEN_OK;
}

static cg_call call_of(const cg_kernel *k, const cg_operands *o, void *packed, char *workspace)
{
    return (cg_call){o->src, o->weights, o->bias, o->dst, o->residual, packed ? packed : workspace,
                     workspace + cg_round64(k->source.packed), o->slope};
}

void cg_kernel_run(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, void *packed, void *workspace)
{
    cg_call call = call_of(k, o, packed, workspace);
    (void)run_stages(k, par, &call, packed ? COMPUTE : PACK | COMPUTE, run_whole);
}

cg_status cg_kernel_run_in_time(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, void *packed, void *workspace)
{
    cg_call call = call_of(k, o, packed, workspace);
    return run_stages(k, par, &call, packed ? COMPUTE : PACK | COMPUTE, cg_deadline() < INFINITY ? stage_in_time : run_whole);
}

bool cg_stage_is_last(const cg_kernel *k, int stage)
{
    const cg_stage *s = k->source.stage;
    if (s[stage].pack) return false;
    for (int i = stage + 1; i < k->source.stage_count && s[stage].shares; i++)
        if (s[i].shares) return false;
    return true;
}

/* Tasks at the ends of a stage's parts: those that it states, else the first and the last one. */
static long all_ends(const cg_stage *s)
{
    return s->ends ? s->ends : s->tasks < 2 ? s->tasks : 2;
}

static long end_count(const cg_stage *s, long most)
{
    return all_ends(s) < most ? all_ends(s) : most;
}

/* The i-th of as many as are wanted: the first one, the last one, and what is evenly between; of one, the last. */
static long end_task(const cg_stage *s, long wanted, long i)
{
    long n = wanted > 1 ? i * (all_ends(s) - 1) / (wanted - 1) : all_ends(s) - 1;
    return s->ends ? s->end[n] : n ? s->tasks - 1 : 0;
}

cg_status cg_kernel_run_ends(const cg_kernel *k, const cg_operands *o, void *packed, void *workspace, cg_ends *ends)
{
    cg_call call = call_of(k, o, packed, workspace);
    char *scratch = (char *)call.shared + cg_round64(k->source.shared);
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < k->source.stage_count && !status; i++) {
        const cg_stage *s = &k->source.stage[i];
        if (s->pack && packed) continue;
        bool some = cg_stage_is_last(k, i);
        long tasks = some ? end_count(s, i == ends->counted ? ends->most : CG_ENDS) : 1;
        for (long j = 0; j < tasks && !(status = cg_in_time()); j++) {
            long first = some ? end_task(s, tasks, j) : 0;
            k->stage[i](&call, scratch, first, some ? first + 1 : s->tasks);
        }
        if (i == ends->counted) ends->ran = tasks;
    }
    return status;
}

void cg_kernel_pack(const cg_kernel *k, const cg_parallel *par, const void *weights, void *packed, void *workspace)
{
    cg_operands o = {.weights = (void *)weights}; /* only read */
    cg_call call = call_of(k, &o, packed, workspace);
    (void)run_stages(k, par, &call, PACK, run_whole);
}

/* Memory of at least that size; its pages are there when it is timed. */
static bool grow(void **memory, size_t *has, size_t size)
{
    if (*memory && *has >= size) return true;
    cg_free(*memory);
    *memory = cg_page_aligned(size);
    *has = *memory ? size : 0;
    if (*memory) memset(*memory, 0, size);
    return *memory;
}

cg_status cg_room_fit(const cg_kernel *k, const cg_parallel *par, const convgen_problem *p, cg_room *r)
{
    bool fixed = p->weights == CONVGEN_WEIGHTS_FIXED && k->source.packed > 0;
    size_t size = cg_kernel_workspace(k, par->threads);
    if (grow(&r->workspace, &r->workspace_size, size) && (!fixed || grow(&r->packed, &r->packed_size, k->source.packed))) return CONVGEN_OK;
    cg_room_free(r);
    return cg_fail(CONVGEN_NO_MEMORY, "no memory for %zu bytes of workspace", size);
}

void cg_room_poison(const cg_kernel *k, const cg_parallel *par, const cg_room *r)
{
    memset(r->workspace, 0xFF, cg_kernel_workspace(k, par->threads));
    if (r->packed) memset(r->packed, 0xFF, k->source.packed);
}

void cg_room_free(cg_room *r)
{
    cg_free(r->workspace);
    cg_free(r->packed);
    *r = (cg_room){0};
}

cg_status cg_kernel_answer(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, const cg_room *r)
{
    if (r->packed) cg_kernel_pack(k, par, o->weights, r->packed, r->workspace);
    return cg_kernel_run_in_time(k, par, o, r->packed, r->workspace);
}
