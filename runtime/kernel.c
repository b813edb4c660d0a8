/* kernel.c: a schedule -> a kernel that runs: source and code together, its stages called one after another.
 *
 * Limit: runs it on the memory that it is given and believes it; whether it may be trusted is verify.c's. */
#include "internal.h"
#include <string.h>

static size_t scratch_bytes(const cg_kernel *k)
{
    size_t most = 0;
    for (int i = 0; i < k->source.stage_count; i++)
        if (k->source.stage[i].scratch > most) most = k->source.stage[i].scratch;
    return cg_round64(most);
}

cg_status cg_kernel_new(cg_script *s, const cg_request *r, const char *schedule, const char *compiler, const char *flags,
                        cg_kernel *out, char why[CG_WHY])
{
    memset(out, 0, sizeof *out);
    why[0] = 0;
    cg_status status = cg_script_source(s, r, schedule, &out->source, why);
    if (!status) status = cg_code_new(out->source.text, compiler, flags, &out->code, why);
    for (int i = 0; !status && i < out->source.stage_count; i++) {
        const char *symbol = out->source.stage[i].symbol;
        void *address = cg_code_symbol(out->code, symbol);
        memcpy(&out->stage[i], &address, sizeof address); /* ISO C has no cast from data to function */
        if (address) continue;
        snprintf(why, CG_WHY, "the compiled code has no function %s", symbol);
        status = cg_fail(CONVGEN_INTERNAL, "%s: %s", schedule, why);
    }
    cg_free(out->source.text);
    out->source.text = NULL;
    if (status) cg_kernel_free(out);
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

static void run_stages(const cg_kernel *k, const cg_parallel *par, const cg_call *call, char *scratch, int which)
{
    stage_task t = {NULL, call, scratch, scratch_bytes(k)};
    for (int i = 0; i < k->source.stage_count; i++) {
        const cg_stage *s = &k->source.stage[i];
        if (!(which & (s->pack ? PACK : COMPUTE))) continue;
        t.run = k->stage[i];
        cg_parallel_run(par, s->tasks, stage_share, &t);
    }
}

static cg_call call_of(const cg_kernel *k, const cg_operands *o, void *packed, char *workspace)
{
    return (cg_call){o->src, o->weights, o->bias, o->dst, o->residual, packed ? packed : workspace,
                     workspace + cg_round64(k->source.packed)};
}

void cg_kernel_run(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, void *packed, void *workspace)
{
    cg_call call = call_of(k, o, packed, workspace);
    run_stages(k, par, &call, (char *)call.shared + cg_round64(k->source.shared), packed ? COMPUTE : PACK | COMPUTE);
}

void cg_kernel_pack(const cg_kernel *k, const cg_parallel *par, const void *weights, void *packed, void *workspace)
{
    cg_operands o = {.weights = (void *)weights}; /* only read */
    cg_call call = call_of(k, &o, packed, workspace);
    run_stages(k, par, &call, (char *)call.shared + cg_round64(k->source.shared), PACK);
}

/* Memory of at least that size; its pages are there when it is timed. */
static bool grow(void **memory, size_t *has, size_t size)
{
    if (*memory && *has >= size) return true;
    cg_free(*memory);
    *memory = cg_pages(size);
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

void cg_kernel_answer(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, const cg_room *r)
{
    if (r->packed) cg_kernel_pack(k, par, o->weights, r->packed, r->workspace);
    cg_kernel_run(k, par, o, r->packed, r->workspace);
}
