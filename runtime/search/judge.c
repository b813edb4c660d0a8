/* judge.c: the judge of this process: a job -> built, verified, timed here.
 *
 * It keeps the kernels and the data of one problem, so that a candidate which is timed again is not built again.
 * Limit: a kernel that crashes takes the process with it; worker.c has a judge that survives. */
#include "search/search.h"
#include <math.h>
#include <string.h>

enum { KERNELS_KEPT = 16, CUTS = 16 /* smaller problems that are tried */ };

typedef struct cg_built {
    cg_job job;
    cg_kernel kernel;
    unsigned long used;
} cg_built;

typedef struct cg_local {
    convgen_context *context;
    bool guards;
    convgen_problem problem;
    cg_trial *trial; /* of `problem`; NULL: none yet */
    cg_built *built[KERNELS_KEPT];
    unsigned long clock;
} cg_local;

static void drop_kernel(cg_built **slot)
{
    if (!*slot) return;
    cg_kernel_free(&(*slot)->kernel);
    cg_free(*slot);
    *slot = NULL;
}

static void local_forget(void *self)
{
    cg_local *l = self;
    for (int i = 0; i < KERNELS_KEPT; i++) drop_kernel(&l->built[i]);
    cg_trial_free(l->trial);
    l->trial = NULL;
}

static cg_status want_problem(cg_local *l, const convgen_problem *p)
{
    if (l->trial && cg_problem_equal(&l->problem, p)) return CONVGEN_OK;
    local_forget(l);
    l->problem = *p;
    return cg_trial_new(&l->problem, l->guards, &l->trial);
}

static bool same_kernel(const cg_job *a, const cg_job *b)
{
    return !strcmp(a->schedule, b->schedule) && !strcmp(a->target, b->target) && !strcmp(a->form, b->form)
        && !strcmp(a->compiler, b->compiler) && a->threads == b->threads;
}

/* The slot of this job's kernel; NULL: it is not kept. */
static cg_built **kept(cg_local *l, const cg_job *job)
{
    for (int i = 0; i < KERNELS_KEPT; i++)
        if (l->built[i] && same_kernel(&l->built[i]->job, job)) return &l->built[i];
    return NULL;
}

/* The same, or an empty one, or the one unused for longest, emptied. */
static cg_built **slot_of(cg_local *l, const cg_job *job)
{
    cg_built **oldest = &l->built[0], **mine = kept(l, job);
    if (mine) return mine;
    for (int i = 0; i < KERNELS_KEPT && *oldest; i++)
        if (!l->built[i] || l->built[i]->used < (*oldest)->used) oldest = &l->built[i];
    drop_kernel(oldest);
    return oldest;
}

static cg_status build(cg_local *l, const convgen_problem *p, const cg_job *job, cg_built **slot, char why[CG_WHY])
{
    convgen_context *c = l->context;
    cg_target target;
    cg_status status = cg_script_target(c->script, &c->machine, job->target, &target);
    if (status != CONVGEN_OK) return status;
    cg_built *b = cg_calloc(1, sizeof *b);
    if (!b) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a kernel");
    cg_request request = {.problem = p, .machine = &c->machine, .target = job->target, .form = job->form, .threads = job->threads};
    status = cg_kernel_new(c->script, &request, &(cg_making){job->schedule, job->compiler, target.flags}, &b->kernel, why);
    b->job = *job;
    if (status == CONVGEN_OK) *slot = b;
    else cg_free(b);
    return status;
}

/* Of a candidate, or of everything? These will meet the next candidate too. */
static bool nothing_can_go_on(cg_status s) { return s == CONVGEN_NO_MEMORY || s == CONVGEN_NO_EXEC || s == CONVGEN_CANCELLED; }

/* The kernel of a job, built when it is not kept. NULL with OK: refused, out says why. */
static cg_status want_kernel(cg_local *l, const cg_job *job, cg_result *out, cg_built ***slot)
{
    *slot = NULL;
    memset(out, 0, sizeof *out);
    cg_status status = want_problem(l, &job->problem);
    if (status != CONVGEN_OK) return status;
    cg_built **s = slot_of(l, job);
    if (!*s) status = build(l, &l->problem, job, s, out->verdict.why);
    if (status == CONVGEN_OK) {
        (*s)->used = ++l->clock;
        *slot = s;
        return CONVGEN_OK;
    }
    if (nothing_can_go_on(status)) return status;
    if (!out->verdict.why[0]) snprintf(out->verdict.why, sizeof out->verdict.why, "%s", cg_error_text());
    out->status = status;
    return CONVGEN_OK;
}

static cg_parallel parallel_of(const cg_local *l, const cg_job *job)
{
    cg_parallel par = l->context->parallel;
    par.threads = job->threads;
    return par;
}

/* The number-th smaller problem: one that has room, or one whose tasks are smaller. */
static bool cut_down(const convgen_problem *p, double excess, int number, convgen_problem *cut)
{
    return cg_cut_needed(p) ? cg_cut_down(p, number, cut) : cg_cut_sums(p, excess, number, cut);
}

/* A kernel of the same schedule for a smaller problem. NULL with OK: no cut has the schedule, *why says what the last one lacks. */
static cg_status build_cut(cg_local *l, const cg_job *job, double excess, convgen_problem *cut, cg_built **slot, char why[CG_WHY])
{
    cg_status status = CONVGEN_OK;
    *slot = NULL;
    for (int i = 0; i < CUTS && !*slot && cut_down(&job->problem, excess, i, cut); i++) {
        status = build(l, cut, job, slot, why);
        if (nothing_can_go_on(status)) return status;
    }
    return CONVGEN_OK;
}

/* Some outputs of a problem that is too large to be filled for them. Errors are not those of the problem, and not told. */
static cg_status verify_cut(cg_local *l, const cg_job *job, const cg_kernel *whole, const cg_parallel *par, cg_verdict *v)
{
    convgen_problem cut;
    cg_built *built = NULL;
    cg_trial *trial = NULL;
    char lacks[CG_WHY] = "", said[CG_WHY];
    cg_status status = build_cut(l, job, cg_sample_excess(&job->problem, whole), &cut, &built, lacks);
    if (!status && !built && !cg_cut_needed(&job->problem)) {
        status = cg_verify(l->trial, whole, par, CG_VERIFY_SAMPLE, v);
        snprintf(v->on, sizeof v->on, "%ld of its tasks alone", v->tasks);
        return status;
    }
    if (!status && !built) {
        snprintf(v->why, sizeof v->why, "the problem is too large for a check, and no smaller one has the schedule: %.150s", lacks);
        return CONVGEN_OK;
    }
    if (!status) status = cg_trial_new(&cut, l->guards, &trial);
    if (!status) status = cg_verify(trial, &built->kernel, par, CG_VERIFY_SAMPLE, v);
    if (!status) status = convgen_problem_format(&cut, v->on, sizeof v->on);
    if (!status && !v->ok) {
        memcpy(said, v->why, sizeof said);
        snprintf(v->why, sizeof v->why, "%.150s (checked on %.80s)", said, v->on);
    }
    if (v->ok) v->error_normwise = v->error_vs_loop = v->error_vs_bound = NAN;
    cg_trial_free(trial);
    drop_kernel(&built);
    return status;
}

static cg_status verify_kernel(void *self, const cg_job *job, cg_result *out)
{
    cg_local *l = self;
    cg_built **slot;
    cg_status status = want_kernel(l, job, out, &slot);
    if (status != CONVGEN_OK || !slot || job->level < 0) {
        out->verdict.ok = status == CONVGEN_OK && slot;
        return status;
    }
    cg_parallel par = parallel_of(l, job);
    const cg_kernel *k = &(*slot)->kernel;
    bool beyond = job->level == CG_VERIFY_SAMPLE && (cg_cut_needed(&job->problem) || cg_sample_excess(&job->problem, k) > 1);
    if (beyond) status = verify_cut(l, job, k, &par, &out->verdict);
    else status = cg_verify(l->trial, k, &par, (cg_verify_level)job->level, &out->verdict);
    if (status != CONVGEN_OK || !out->verdict.ok) drop_kernel(slot);
    if (status != CONVGEN_CANCELLED || cg_late()) return status;
    out->status = status; /* a run of this one would end too late: others may be faster */
    out->verdict.ok = false;
    snprintf(out->verdict.why, sizeof out->verdict.why, "%s", cg_error_text());
    return CONVGEN_OK;
}

static cg_status time_kernel(void *self, const cg_job *job, cg_result *out)
{
    cg_local *l = self;
    cg_built **slot;
    cg_status status = want_kernel(l, job, out, &slot);
    if (status != CONVGEN_OK || !slot) return status;
    cg_parallel par = parallel_of(l, job);
    out->packed = (*slot)->kernel.source.packed;
    cg_stint stint = {.seconds = job->seconds, .hopeless = job->hopeless, .cold = job->cold, .network = job->network};
    return cg_time(l->trial, &(*slot)->kernel, &par, &stint, &out->timing);
}

static cg_status in_time(cg_status (*what)(void *, const cg_job *, cg_result *), void *self, const cg_job *job, cg_result *out)
{
    double before = cg_deadline_set(job->deadline > 0 ? job->deadline : INFINITY);
    cg_status status = what(self, job, out);
    cg_deadline_set(before);
    return status;
}

static cg_status local_verify(void *self, const cg_job *job, cg_result *out) { return in_time(verify_kernel, self, job, out); }
static cg_status local_time(void *self, const cg_job *job, cg_result *out) { return in_time(time_kernel, self, job, out); }

static bool local_take(void *self, const cg_job *job, cg_kernel *out)
{
    cg_local *l = self;
    cg_built **slot = l->trial && cg_problem_equal(&l->problem, &job->problem) ? kept(l, job) : NULL;
    if (!slot) return false;
    *out = (*slot)->kernel;
    cg_free(*slot);
    *slot = NULL;
    return true;
}

cg_status cg_judge_local(convgen_context *c, bool guards, cg_judge *out)
{
    cg_local *l = cg_calloc(1, sizeof *l);
    if (!l) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a judge");
    l->context = c;
    l->guards = guards;
    *out = (cg_judge){l, local_verify, local_time, local_forget, local_take};
    return CONVGEN_OK;
}
