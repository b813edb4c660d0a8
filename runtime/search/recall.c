/* recall.c: key -> the record that may be used for it.
 *
 * A record is data from outside: it is used when this generator knows its schedule, of the family and version that it names, and
 * predicts that the problem's accuracy admits it. One of another accuracy may do that too. What was not measured on this machine
 * by this user (shipped, merged) is sampled as well, once in a process. Its figures are never checked: they are what was recorded. */
#include "search/search.h"
#include <string.h>

/* ---- key -> record ---- */

typedef struct asking {
    convgen_context *context;
    cg_request request; /* of the problem that is asked for, whatever accuracy the record is of */
    cg_recalled *out;   /* why: the first refusal; stale, and then that record */
    cg_status status;   /* why nothing can go on */
} asking;

/* Of this version: whether its schedule is what it says, and admitted; by its own figure too, which may be above what is predicted. */
static cg_status judge_schedule(convgen_context *c, const cg_request *request, const cg_record *r, char why[CG_WHY])
{
    char family[16];
    int chains;
    double budget = cg_budget(request->problem->accuracy);
    cg_status status = cg_script_admits(c->script, request, r->schedule, family, &chains, why);
    if (status) return status;
    if (strcmp(family, r->family))
        snprintf(why, CG_WHY, "it names the family %s, but its schedule %s is of %s", r->family, r->schedule, family);
    else if (!chains && r->error_vs_loop > budget)
        snprintf(why, CG_WHY, "its recorded error is %.3g times the loop's, %s admits %.3g", r->error_vs_loop,
                 cg_accuracy_name(request->problem->accuracy), budget);
    return CONVGEN_OK;
}

cg_status cg_record_judge(convgen_context *c, const cg_request *request, const cg_record *r, bool *stale, char why[CG_WHY])
{
    int version = 0;
    cg_status status = cg_script_family_version(c->script, r->family, &version);
    why[0] = 0;
    *stale = !status && version != r->version;
    if (*stale)
        snprintf(why, CG_WHY, "it is of another version of the family %s (%d, now %d)", r->family, r->version, version);
    else if (status)
        snprintf(why, CG_WHY, "%s", cg_error_text());
    else
        status = judge_schedule(c, request, r, why);
    return status == CONVGEN_NO_MEMORY ? status : CONVGEN_OK;
}

static bool trusted(const cg_record *r, void *user)
{
    asking *a = user;
    char why[CG_WHY] = "";
    bool stale;
    if (!a->status) a->status = cg_record_judge(a->context, &a->request, r, &stale, why);
    if (a->status) return false;
    if (!why[0]) return true;
    if (!a->out->why[0]) snprintf(a->out->why, CG_WHY, "%s", why);
    if (stale && !a->out->stale) a->out->record = *r, a->out->stale = true;
    return false;
}

/* Those of looser accuracies found the fastest among more; then the tighter ones, whose schedules are admitted anyway. */
static void accuracies(convgen_accuracy asked, convgen_accuracy out[CG_ACCURACIES])
{
    int at = 0, count = 0;
    while (cg_loosest_first[at] != asked) at++;
    for (int i = at; i >= 0; i--) out[count++] = cg_loosest_first[i];
    for (int i = at + 1; i < CG_ACCURACIES; i++) out[count++] = cg_loosest_first[i];
}

static cg_status recall_of(convgen_context *c, const convgen_problem *p, const cg_record *key, cg_recalled *out)
{
    asking a = {.context = c, .out = out,
                .request = {.problem = p, .machine = &c->machine, .target = key->target, .form = key->form, .threads = key->threads}};
    convgen_accuracy tier[CG_ACCURACIES];
    convgen_problem of = *p;
    cg_record k = *key, taken; /* not out's: that holds what is stale, which may be nearer */
    cg_status status = CONVGEN_NO_RECORD;
    int tried = 0;
    accuracies(p->accuracy, tier);
    while (tried < CG_ACCURACIES && status == CONVGEN_NO_RECORD) {
        of.accuracy = tier[tried++];
        status = convgen_problem_format(&of, k.problem, sizeof k.problem);
        if (!status) status = cg_store_find_if(c->store, &k, trusted, &a, &taken);
        if (a.status) status = a.status;
    }
    if (status) return status;
    out->record = taken;
    out->other_accuracy = tried > 1;
    out->stale = false;
    out->unchecked = out->record.shipped || out->record.merged;
    memcpy(out->record.problem, key->problem, sizeof out->record.problem); /* which it serves */
    return CONVGEN_OK;
}

cg_status cg_recall(convgen_context *c, const convgen_problem *p, const cg_record *key, cg_recalled *out)
{
    cg_record warm = *key;
    *out = (cg_recalled){0};
    cg_status status = recall_of(c, p, key, out);
    if (status != CONVGEN_NO_RECORD || !key->network) return status;
    warm.network = false;
    status = recall_of(c, p, &warm, out);
    out->other_conditions = !status;
    return status;
}

/* ---- record -> sampled ---- */

/* What has been sampled in this process, by hash; a full table forgets nothing, but is added nothing. */
enum { SAMPLED = 1 << 12, PROBES = 32 };
static uint64_t sampled[SAMPLED];

static uint64_t hash_of(const cg_job *job, const char *problem)
{
    const char *const words[] = {problem, job->schedule, job->target, job->form, job->compiler};
    uint64_t h = cg_hash(&job->threads, sizeof job->threads, 0);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) h = cg_hash(words[i], strlen(words[i]) + 1, h);
    return h ? h : 1;
}

/* Whether it is there; else, with `add`, puts it there. */
static bool sampled_before(uint64_t h, bool add)
{
    for (int i = 0; i < PROBES; i++) {
        uint64_t *slot = &sampled[(h + (uint64_t)i) % SAMPLED], none = 0;
        if (__atomic_load_n(slot, __ATOMIC_RELAXED) == h) return true;
        if (__atomic_load_n(slot, __ATOMIC_RELAXED)) continue;
        if (!add || __atomic_compare_exchange_n(slot, &none, h, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return false;
    }
    return false;
}

void cg_recalled_job(const convgen_problem *p, const cg_record *r, cg_job *out)
{
    *out = (cg_job){.problem = *p, .threads = r->threads, .level = CG_VERIFY_SAMPLE};
    memcpy(out->schedule, r->schedule, sizeof out->schedule);
    memcpy(out->target, r->target, sizeof out->target);
    memcpy(out->form, r->form, sizeof out->form);
    memcpy(out->compiler, r->compiler, sizeof out->compiler);
}

bool cg_recalled_usable(const convgen_problem *p, const cg_recalled *r)
{
    cg_job job;
    cg_recalled_job(p, &r->record, &job);
    return !r->unchecked || sampled_before(hash_of(&job, r->record.problem), false);
}

cg_status cg_recalled_sample(const cg_judge *judge, const convgen_problem *p, cg_recalled *r)
{
    cg_job job;
    cg_result result = {0};
    if (cg_recalled_usable(p, r)) return CONVGEN_OK;
    cg_recalled_job(p, &r->record, &job);
    cg_status status = judge->verify(judge->self, &job, &result);
    if (status) return status;
    if (result.status == CONVGEN_OK && result.verdict.ok) {
        sampled_before(hash_of(&job, r->record.problem), true);
        return CONVGEN_OK;
    }
    snprintf(r->why, sizeof r->why, "it was %s and fails its check here: %.150s", r->record.shipped ? "shipped with convgen" : "merged",
             result.verdict.why[0] ? result.verdict.why : convgen_status_text(result.status));
    return CONVGEN_NO_RECORD;
}
