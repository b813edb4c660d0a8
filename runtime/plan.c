/* plan.c: remembered -> run.
 *
 * A plan holds all that a run needs, worked out beforehand: what each tensor must be, and workspaces for callers who bring
 * none. A run checks its pointers and allocates nothing once every thread has run; one plan may run in many threads.
 * The search is search/'s, the kernels compile/kernel.c's. */
#include "plan.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a run is given: the tensors, and memory. */
enum { PACKED = CG_TENSORS, WORKSPACE, SLOTS };
#define PLACE(field) offsetof(convgen_tensors, field)
static const size_t place[SLOTS] = {PLACE(src), PLACE(weights), PLACE(bias), PLACE(dst), PLACE(residual), PLACE(slope),
                                    PLACE(packed), PLACE(workspace)};
enum { IDLE = 64 };

typedef struct cg_slot {
    size_t bytes, alignment;
    cg_pixels pixels; /* of a tensor */
} cg_slot;

/* Idle workspaces. Slots are taken and given by one atomic exchange each, so a fork of the host finds no lock held. */
typedef struct cg_idle {
    void *at[IDLE];
} cg_idle;

struct convgen_plan {
    convgen_context *context;
    convgen_problem problem;
    cg_kernel kernel;
    cg_parallel parallel;
    cg_slot slot[SLOTS];
    unsigned needs, writes; /* bits of slots */
    bool packs;             /* the kernel has a packed form of its own */
    cg_idle *idle;
    cg_record record; /* the strings of info */
    convgen_info info;
    char describe[CG_TEXT], warning[CG_WHY];
};

/* ---- what each tensor must be ---- */

#define BIT(slot) (1u << (slot))

static const char *slot_name(int slot) { return slot == PACKED ? "packed" : slot == WORKSPACE ? "workspace" : cg_tensor_name(slot); }

static void need(convgen_plan *plan, int slot, size_t bytes, size_t alignment)
{
    plan->slot[slot] = (cg_slot){.bytes = bytes, .alignment = alignment};
    plan->needs |= BIT(slot);
}

static void describe_slots(convgen_plan *plan)
{
    const convgen_problem *p = &plan->problem;
    size_t bytes[CG_TENSORS], element = cg_problem_sizes(p).element;
    cg_role role[CG_TENSORS];
    cg_tensor_bytes(p, bytes);
    cg_roles(p, role);
    for (int i = 0; i < CG_TENSORS; i++) {
        if (role[i] != CG_ABSENT) need(plan, i, bytes[i], element);
        plan->slot[i].pixels = cg_tensor_pixels(p, i);
        if (role[i] == CG_RESULT) plan->writes |= BIT(i);
    }
    /* A kernel that reads weights as they are still has a packed form for the caller: a copy. So `packed` always replaces them. */
    plan->packs = plan->kernel.source.packed > 0;
    size_t packed = plan->packs ? plan->kernel.source.packed : plan->slot[CG_WEIGHTS].bytes;
    plan->slot[PACKED] = (cg_slot){.bytes = role[CG_WEIGHTS] == CG_RESULT ? 0 : packed, .alignment = 64};
    plan->slot[WORKSPACE] = (cg_slot){.bytes = cg_kernel_workspace(&plan->kernel, plan->parallel.threads), .alignment = 64};
}

static size_t common(size_t a, size_t b) /* divisor */
{
    for (size_t rest; b; a = b, b = rest) rest = a % b;
    return a;
}

/* Whether an element is in both. Slices share none where what one has of a period, which both have, lies between what the other has of it. */
static bool overlap(const void *a, const cg_slot *a_slot, const void *b, const cg_slot *b_slot)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    if (x >= y + b_slot->bytes || y >= x + a_slot->bytes) return false;
    size_t period = common(a_slot->pixels.apart, b_slot->pixels.apart);
    if (!period) return true;
    size_t from = y >= x ? (y - x) % period : (period - (x - y) % period) % period, one = a_slot->pixels.apart ? a_slot->pixels.bytes : a_slot->bytes;
    size_t other = b_slot->pixels.apart ? b_slot->pixels.bytes : b_slot->bytes;
    return from < one || other > period - from;
}

static cg_status check_pointers(const convgen_plan *plan, void *const at[SLOTS], unsigned used)
{
    for (int s = 0; s < SLOTS; s++) {
        if (!(used & BIT(s))) continue;
        if (!at[s]) return cg_fail(CONVGEN_BAD_ARGUMENT, "%s is NULL; this plan needs it", slot_name(s));
        if ((uintptr_t)at[s] & (plan->slot[s].alignment - 1))
            return cg_fail(CONVGEN_BAD_ARGUMENT, "%s is not aligned to %zu bytes", slot_name(s), plan->slot[s].alignment);
        if ((uintptr_t)at[s] > UINTPTR_MAX - plan->slot[s].bytes)
            return cg_fail(CONVGEN_BAD_ARGUMENT, "%s has no room for its %zu bytes", slot_name(s), plan->slot[s].bytes);
    }
    return CONVGEN_OK;
}

static cg_status check_overlaps(const convgen_plan *plan, void *const at[SLOTS], unsigned used, unsigned writes)
{
    for (int w = 0; w < SLOTS; w++) {
        if (!(writes & BIT(w))) continue;
        for (int s = 0; s < SLOTS; s++) {
            if (s == w || !(used & BIT(s)) || !overlap(at[w], &plan->slot[w], at[s], &plan->slot[s])) continue;
            if (w == CG_DST && s == CG_RESIDUAL && at[w] == at[s]) continue;
            return cg_fail(CONVGEN_BAD_ARGUMENT, "%s overlaps %s, and is written%s", slot_name(w), slot_name(s),
                           w == CG_DST && s == CG_RESIDUAL ? "; only exactly the same place is allowed" : "");
        }
    }
    return CONVGEN_OK;
}

/* ---- workspaces ---- */

static void *workspace_take(const convgen_plan *plan)
{
    cg_idle *idle = plan->idle;
    for (int i = 0; i < IDLE; i++) {
        if (!__atomic_load_n(&idle->at[i], __ATOMIC_RELAXED)) continue;
        void *found = __atomic_exchange_n(&idle->at[i], NULL, __ATOMIC_ACQUIRE);
        if (found) return found;
    }
    void *fresh = cg_page_aligned(plan->slot[WORKSPACE].bytes);
    if (!fresh) cg_fail(CONVGEN_NO_MEMORY, "no memory for a workspace of %zu bytes", plan->slot[WORKSPACE].bytes);
    return fresh;
}

static void workspace_give(const convgen_plan *plan, void *workspace)
{
    cg_idle *idle = plan->idle;
    for (int i = 0; i < IDLE; i++) {
        void *none = NULL;
        if (__atomic_load_n(&idle->at[i], __ATOMIC_RELAXED)) continue;
        if (__atomic_compare_exchange_n(&idle->at[i], &none, workspace, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) return;
    }
    cg_free(workspace); /* more threads at once than there are places */
}

static void idle_free(cg_idle *idle)
{
    for (int i = 0; idle && i < IDLE; i++) cg_free(idle->at[i]);
    cg_free(idle);
}

/* ---- plans ---- */

static void time_text(double ns, char *text, size_t size)
{
    static const struct { double from, unit; const char *name; } units[] = {
        {1e9, 1e9, "s"}, {1e6, 1e6, "ms"}, {1e3, 1e3, "us"}, {0, 1, "ns"}};
    int i = 0;
    while (ns < units[i].from) i++;
    snprintf(text, size, "%.3g %s", ns / units[i].unit, units[i].name);
}

/* Figures of a record are what it says, not what was measured. */
static void describe(convgen_plan *plan)
{
    const cg_record *r = &plan->record;
    const char *recorded = plan->info.recalled ? "recorded " : "", *of = r->ns_min > 0 ? "" : " on a sample"; /* what is not timed is estimated */
    char time[32] = "", error[64] = "error not measured";
    if (r->ns_min > 0) time_text(r->ns_min, time, sizeof time);
    if (r->error_vs_loop >= 0) snprintf(error, sizeof error, "%serror %.2f of the plain loop's%s", recorded, r->error_vs_loop, of);
    else if (r->error_normwise >= 0) snprintf(error, sizeof error, "%snormwise error %.2g%s", recorded, r->error_normwise, of);
    snprintf(plan->describe, sizeof plan->describe, "%s on %s (%s form, %s), %d thread%s: %s%s, %s", r->schedule, r->target, r->form,
             r->compiler, r->threads, r->threads == 1 ? "" : "s", time[0] ? recorded : "not timed", time, error);
}

static void inform(convgen_plan *plan, const cg_outcome *o)
{
    const cg_record *r = &plan->record;
    snprintf(plan->warning, sizeof plan->warning, "%s", o->warning);
    plan->info = (convgen_info){
        .problem = r->problem, .family = r->family, .schedule = r->schedule, .form = r->form, .compiler = r->compiler,
        .target = r->target, .threads = r->threads, .ns_min = r->ns_min, .ns_median = r->ns_median,
        .error_normwise = r->error_normwise, .error_vs_loop = r->error_vs_loop, .error_vs_bound = r->error_vs_bound,
        .recalled = o->recalled, .candidates = o->recalled ? 0 : o->candidates, .refused = o->recalled ? 0 : o->refused,
        .seconds = o->seconds, .warning = plan->warning,
        .complete = o->recalled ? !o->record.cut_after : o->complete,
    };
    describe(plan);
}

static cg_status build(convgen_plan *plan)
{
    convgen_context *c = plan->context;
    const cg_record *r = &plan->record;
    char why[CG_WHY] = "";
    cg_target target;
    cg_status status = cg_script_target(c->script, &c->machine, r->target, &target);
    if (status != CONVGEN_OK) return status;
    cg_request request = {.problem = &plan->problem, .machine = &c->machine, .target = r->target, .form = r->form, .threads = r->threads};
    status = cg_kernel_new(c->script, &request, &(cg_making){r->schedule, r->compiler, target.flags}, &plan->kernel, why);
    if (status != CONVGEN_OK && status != CONVGEN_NO_MEMORY && why[0])
        cg_fail(status, "schedule %s of \"%s\" cannot be built: %s", r->schedule, r->problem, why);
    return status;
}

/* The kernel is the plan's, whatever comes of it; without code it is built. */
static cg_status plan_with(convgen_context *c, const cg_outcome *outcome, const convgen_problem *p, cg_kernel *kernel, convgen_plan **out)
{
    *out = NULL;
    convgen_plan *plan = cg_calloc(1, sizeof *plan);
    if (!plan) {
        cg_kernel_free(kernel);
        return cg_fail(CONVGEN_NO_MEMORY, "no memory for a plan");
    }
    cg_context_hold(c);
    plan->context = c;
    plan->problem = *p;
    plan->record = outcome->record;
    plan->kernel = *kernel;
    plan->parallel = c->parallel;
    if (plan->record.threads > 0) plan->parallel.threads = plan->record.threads;
    else plan->record.threads = plan->parallel.threads;
    cg_status status = cg_problem_normalise(&plan->problem);
    if (status == CONVGEN_OK && !(plan->idle = cg_calloc(1, sizeof *plan->idle)))
        status = cg_fail(CONVGEN_NO_MEMORY, "no memory for a plan");
    if (status == CONVGEN_OK && !plan->record.problem[0])
        status = convgen_problem_format(&plan->problem, plan->record.problem, sizeof plan->record.problem);
    if (status == CONVGEN_OK && !plan->kernel.code) status = build(plan);
    if (status == CONVGEN_OK) {
        describe_slots(plan);
        inform(plan, outcome);
        *out = plan;
    } else {
        convgen_plan_free(plan);
    }
    return status;
}

cg_status cg_plan_for(convgen_context *c, const cg_outcome *outcome, const convgen_problem *p, convgen_plan **out)
{
    cg_kernel none = {0};
    return plan_with(c, outcome, p, &none, out);
}

void convgen_plan_free(convgen_plan *plan)
{
    if (!plan) return;
    if (plan->kernel.code) cg_kernel_free(&plan->kernel);
    idle_free(plan->idle);
    cg_context_release(plan->context);
    cg_free(plan);
}

/* ---- creating one, with the caller's progress ---- */

typedef struct cg_progress {
    const convgen_options *options;
    bool go_on;
} cg_progress;

static bool progress_go_on(void *user) { return ((cg_progress *)user)->go_on; }

static void progress_say(cg_progress *p, double done, const char *line)
{
    if (p->options->progress && p->go_on) p->go_on = p->options->progress(p->options->user, done, line);
}

static void progress_tried(void *user, const cg_tried *t)
{
    char line[CG_NAME + CG_WHY + 32], time[32];
    if (t->again) return;
    if (t->why && t->why[0]) snprintf(line, sizeof line, "%s: refused: %s", t->schedule->name, t->why);
    else if (t->ns_min > 0) {
        time_text(t->ns_min, time, sizeof time);
        snprintf(line, sizeof line, "%s: %s", t->schedule->name, time);
    } else snprintf(line, sizeof line, "%s: verified", t->schedule->name);
    progress_say(user, t->done, line);
}

static cg_status search(convgen_context *c, const cg_tuning *t, cg_outcome *outcome)
{
    cg_judge judge;
    cg_status status = cg_judge_local(c, false, &judge);
    if (status != CONVGEN_OK) return status;
    status = cg_tune(c, &judge, t, outcome);
    cg_free(judge.self);
    /* A winner that could not be remembered is still the winner; its plan's info and convgen_error tell. */
    return status == CONVGEN_STORE && outcome->record.schedule[0] ? CONVGEN_OK : status;
}

/* The kernel that was judged is the plan's, where there was one; a record's is built. */
static cg_status plan_of(convgen_context *c, cg_tuning *t, cg_outcome *outcome, convgen_plan **out)
{
    cg_kernel kernel = {0};
    t->kernel = &kernel;
    cg_status status = search(c, t, outcome);
    if (status == CONVGEN_OK) return plan_with(c, outcome, t->problem, &kernel, out);
    cg_kernel_free(&kernel);
    return status;
}

static cg_status check_create(const convgen_context *c, const convgen_problem *p, convgen_effort effort, double seconds)
{
    if (!c) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_plan_create: context is NULL");
    if (!p) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_plan_create: problem is NULL");
    if ((int)effort < CONVGEN_RECALL || effort > CONVGEN_EXHAUSTIVE)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "effort is %d; CONVGEN_RECALL to CONVGEN_EXHAUSTIVE (%d to %d) are allowed",
                       (int)effort, CONVGEN_RECALL, CONVGEN_EXHAUSTIVE);
    if (!(seconds >= 0)) return cg_fail(CONVGEN_BAD_ARGUMENT, "seconds is %g; 0 (no limit) or more is allowed", seconds);
    return CONVGEN_OK;
}

static cg_status create(convgen_context *context, cg_tuning tuning, convgen_plan **out)
{
    convgen_effort effort = tuning.effort;
    *out = NULL;
    cg_status status = check_create(context, tuning.problem, effort, tuning.seconds);
    if (status != CONVGEN_OK) return status;
    cg_outcome outcome = {0};
    cg_progress progress = {&context->options, true};
    tuning.finish = effort >= CONVGEN_MEASURE && tuning.seconds == 0;
    tuning.tried = progress_tried;
    tuning.go_on = progress_go_on;
    tuning.user = &progress;
    if (effort != CONVGEN_RECALL) progress_say(&progress, 0, "looking for a kernel");
    status = plan_of(context, &tuning, &outcome, out);
    bool useless = status != CONVGEN_OK && status != CONVGEN_NO_MEMORY && status != CONVGEN_NO_EXEC && outcome.recalled;
    if (!useless || effort == CONVGEN_RECALL) return status;
    tuning.again = true; /* what was remembered does not build: look again */
    return plan_of(context, &tuning, &outcome, out);
}

convgen_status convgen_plan_create(convgen_context *context, const convgen_problem *problem, convgen_effort effort, double seconds,
                                   convgen_plan **out)
{
    if (!out) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_plan_create: out is NULL");
    return create(context, (cg_tuning){.problem = problem, .effort = effort, .seconds = seconds}, out);
}

cg_status cg_plan_create_for_network(convgen_context *c, const convgen_problem *p, convgen_effort effort, double seconds, convgen_plan **out)
{
    return create(c, (cg_tuning){.problem = p, .effort = effort, .seconds = seconds, .network = true}, out);
}

/* ---- using one ---- */

size_t convgen_plan_workspace(const convgen_plan *plan) { return plan ? plan->slot[WORKSPACE].bytes : 0; }
size_t convgen_plan_packed(const convgen_plan *plan) { return plan ? plan->slot[PACKED].bytes : 0; }
const convgen_info *convgen_plan_info(const convgen_plan *plan) { return plan ? &plan->info : NULL; }
const char *convgen_plan_describe(const convgen_plan *plan) { return plan ? plan->describe : ""; }
const cg_kernel *cg_plan_kernel(const convgen_plan *plan) { return &plan->kernel; }
const cg_parallel *cg_plan_parallel(const convgen_plan *plan) { return &plan->parallel; }

convgen_status convgen_pack(const convgen_plan *plan, const void *weights, void *packed)
{
    if (!plan) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_pack: plan is NULL");
    if (!plan->slot[PACKED].bytes) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_pack: backward weights has no weights to pack");
    void *at[SLOTS] = {[CG_WEIGHTS] = (void *)weights, [PACKED] = packed};
    unsigned used = BIT(CG_WEIGHTS) | BIT(PACKED);
    cg_status status = check_pointers(plan, at, used);
    if (status == CONVGEN_OK) status = check_overlaps(plan, at, used, BIT(PACKED));
    if (status != CONVGEN_OK) return status;
    if (!plan->packs) {
        memcpy(packed, weights, plan->slot[PACKED].bytes);
        return CONVGEN_OK;
    }
    void *workspace = workspace_take(plan);
    if (!workspace) return CONVGEN_NO_MEMORY;
    cg_kernel_pack(&plan->kernel, &plan->parallel, weights, packed, workspace);
    workspace_give(plan, workspace);
    return CONVGEN_OK;
}

static cg_status check_run(const convgen_plan *plan, void *const at[SLOTS], unsigned used)
{
    cg_status status = check_pointers(plan, at, used);
    return status == CONVGEN_OK ? check_overlaps(plan, at, used, (plan->writes | BIT(WORKSPACE)) & used) : status;
}

convgen_status convgen_run(const convgen_plan *plan, const convgen_tensors *tensors)
{
    if (!plan) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_run: plan is NULL");
    if (!tensors) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_run: tensors is NULL");
    void *at[SLOTS];
    for (int s = 0; s < SLOTS; s++) /* an older caller's tensors end before `slope` */
        at[s] = s == CG_SLOPE && !(plan->needs & BIT(s)) ? NULL : *(void *const *)((const char *)tensors + place[s]);
    bool packed = at[PACKED] && plan->slot[PACKED].bytes;
    unsigned used = plan->needs | (at[WORKSPACE] ? BIT(WORKSPACE) : 0);
    if (packed) used = (used & ~BIT(CG_WEIGHTS)) | BIT(PACKED);
    cg_status status = check_run(plan, at, used);
    if (status != CONVGEN_OK) return status;
    void *own = at[WORKSPACE] ? NULL : workspace_take(plan);
    if (!at[WORKSPACE] && !own) return CONVGEN_NO_MEMORY;
    cg_operands operands = {0};
    for (int i = 0; i < CG_TENSORS; i++)
        if (plan->needs & BIT(i)) operands.at[i] = at[i];
    if (packed) operands.weights = plan->packs ? NULL : at[PACKED];
    cg_kernel_run(&plan->kernel, &plan->parallel, &operands, packed && plan->packs ? at[PACKED] : NULL, own ? own : at[WORKSPACE]);
    if (own) workspace_give(plan, own);
    return CONVGEN_OK;
}

convgen_status convgen_certificate(const convgen_plan *plan, convgen_errors *out)
{
    if (!plan || !out) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_certificate: %s is NULL", plan ? "out" : "plan");
    if (out->struct_size == 0)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "errors.struct_size is 0; it must be sizeof(convgen_errors)");
    convgen_errors errors = {0};
    cg_status status = cg_certificate(&plan->problem, &plan->kernel, &plan->parallel, &errors);
    if (status) return status;
    errors.struct_size = out->struct_size < sizeof errors ? out->struct_size : sizeof errors; /* of an older caller: its part */
    memcpy(out, &errors, errors.struct_size);
    return CONVGEN_OK;
}
