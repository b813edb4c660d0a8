/* context.c: what searches stand on: the machine, its target, the generator, the store, the caller's options.
 *
 * Shared by threads and plans; the last who holds it frees it. */
#include "search/search.h"
#include <stdlib.h>
#include <string.h>

static cg_status options_of(const convgen_options *given, convgen_options *o)
{
    memset(o, 0, sizeof *o);
    if (given && given->struct_size == 0)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "options.struct_size is 0; it must be sizeof(convgen_options)");
    size_t known = given && given->struct_size < sizeof *o ? given->struct_size : sizeof *o; /* of an older caller: its part */
    if (given) memcpy(o, given, known);
    o->struct_size = sizeof *o;
    if (o->threads < 0 || o->threads > CG_MOST_THREADS)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "options.threads is %d; 0 (the default, 1) to %d are allowed", o->threads, CG_MOST_THREADS);
    if (!o->threads) o->threads = 1;
    return CONVGEN_OK;
}

/* Makes a borrowed string of the options our own. */
static cg_status own(const char **text)
{
    if (!*text) return CONVGEN_OK;
    *text = cg_strdup(*text);
    return *text ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "no memory for the options");
}

static void context_free(convgen_context *c)
{
    cg_store_free(c->store);
    cg_script_free(c->script);
    cg_free((void *)c->options.target);
    cg_free((void *)c->options.store);
    cg_free(c);
}

void cg_context_hold(convgen_context *c) { __atomic_add_fetch(&c->references, 1, __ATOMIC_RELAXED); }

void cg_context_release(convgen_context *c)
{
    if (__atomic_sub_fetch(&c->references, 1, __ATOMIC_ACQ_REL) == 0) context_free(c);
}

static cg_status context_fill(convgen_context *c, const convgen_options *o)
{
    const char *target = o->target ? o->target : getenv("CONVGEN_TARGET");
    c->references = 1;
    c->options = *o;
    c->options.target = c->options.store = NULL; /* not ours to free until they are copies */
    const char *copies[2] = {o->target, o->store};
    cg_status status = own(&copies[0]);
    if (status == CONVGEN_OK) {
        c->options.target = copies[0];
        status = own(&copies[1]);
    }
    if (status == CONVGEN_OK) {
        c->options.store = copies[1];
        c->parallel = (cg_parallel){o->threads, o->parallel_for, o->user};
        cg_machine_detect(&c->machine);
        status = cg_script_new(&c->script);
    }
    if (status == CONVGEN_OK) status = cg_script_generator(c->script, c->generator);
    if (status == CONVGEN_OK) status = cg_script_target(c->script, &c->machine, target, &c->target);
    if (status == CONVGEN_OK) status = cg_store_new(c->options.store, &c->store);
    return status;
}

convgen_status convgen_open(const convgen_options *options_or_null, convgen_context **out)
{
    if (!out) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_open: out is NULL");
    convgen_options options;
    *out = NULL;
    cg_status status = options_of(options_or_null, &options);
    if (status != CONVGEN_OK) return status;
    convgen_context *c = cg_calloc(1, sizeof *c);
    if (!c) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a context");
    status = context_fill(c, &options);
    if (status == CONVGEN_OK) *out = c;
    else context_free(c);
    return status;
}

void convgen_close(convgen_context *context)
{
    if (context) cg_context_release(context);
}

/* Of one thread. The portable target has no vectors of its own; its peak is that of 128-bit ones. */
cg_status cg_context_peak(convgen_context *c, const char *wanted, convgen_type type, double *gflops)
{
    char name[64];
    cg_target target = c->target;
    cg_status status = wanted ? cg_script_target(c->script, &c->machine, wanted, &target) : CONVGEN_OK;
    if (status != CONVGEN_OK) return status;
    snprintf(name, sizeof name, "peak %s %s", cg_type_name(type), target.name);
    if (cg_store_fact(c->store, c->machine.key, name, gflops) == CONVGEN_OK) return CONVGEN_OK;
    *gflops = cg_measure_peak(&c->machine, target.bits > 128 ? target.bits : 128, type);
    cg_store_put_fact(c->store, c->machine.key, name, *gflops); /* not remembered: measured again next time */
    return CONVGEN_OK;
}
