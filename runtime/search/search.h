/* search.h: problem -> record: recalled, or searched for. */
#ifndef CONVGEN_SEARCH_H
#define CONVGEN_SEARCH_H

#include "remember/remember.h"

/* ---- context.c: what searches stand on --------------------------------------------------------------------------- */

struct convgen_context {
    int references; /* the user's and one per plan; atomic */
    convgen_options options;
    cg_parallel parallel;
    cg_machine machine;
    cg_target target;
    cg_script *script;
    cg_store *store;
    char generator[CG_NAME]; /* what new records are stamped with */
};
void cg_context_hold(convgen_context *c);
void cg_context_release(convgen_context *c);
cg_status cg_context_peak(convgen_context *c, const char *target, convgen_type type, double *gflops); /* measured once, kept in the store */

/* ---- judge.c: where candidates are judged ------------------------------------------------------------------------ */

/* Where candidates are judged: in this process, or in a worker that may crash (cli). */
typedef struct cg_job {
    convgen_problem problem;
    char schedule[CG_NAME], target[16], form[12], compiler[CG_NAME];
    int threads;
    int level;      /* cg_verify_level, or -1: build only */
    double seconds, hopeless; /* of timing: as of a cg_stint */
    double deadline; /* of cg_now: then it is given up, CONVGEN_CANCELLED; 0: none */
    bool cold, network; /* of timing: as of a cg_stint */
} cg_job;
typedef struct cg_result {
    cg_status status; /* not OK: refused, or nothing can go on */
    cg_verdict verdict;
    cg_timing timing;
    size_t packed; /* bytes of weights that its kernel packs; of time */
} cg_result;
typedef struct cg_judge {
    void *self;
    /* Both: not OK: nothing can go on; OK with out->status not OK: this candidate is refused, out->verdict.why. */
    cg_status (*verify)(void *self, const cg_job *job, cg_result *out); /* builds, verifies; keeps it ready to be timed */
    cg_status (*time)(void *self, const cg_job *job, cg_result *out);
    void (*forget)(void *self); /* the problem is done */
    /* The kernel of a job when it is still there: the caller's from then on. NULL: kernels are elsewhere. */
    bool (*take)(void *self, const cg_job *job, cg_kernel *out);
} cg_judge;
cg_status cg_judge_local(convgen_context *c, bool guards, cg_judge *out); /* free with forget, then cg_free(self) */

/* ---- recall.c: key -> the record that may be used for it --------------------------------------------------------- */

typedef struct cg_recalled {
    cg_record record;    /* its problem is the one asked for, whatever accuracy it was found under */
    bool other_accuracy; /* it was found under another one, which its schedule serves as well */
    bool other_conditions; /* asked for a network's, and only the warm one is there */
    bool unchecked;      /* shipped or merged: to be sampled before it is used */
    bool stale;          /* of CONVGEN_NO_RECORD: record is one of another version of its family: a hint */
    char why[CG_WHY];    /* of CONVGEN_NO_RECORD: why what there is is not used; "": there is nothing */
} cg_recalled;
/* Why a record is not to be trusted for a request, or ""; *stale: it is of another version of its family. Not OK: nothing can go on. */
cg_status cg_record_judge(convgen_context *c, const cg_request *request, const cg_record *r, bool *stale, char why[CG_WHY]);
/* p is normalised, and key->problem its text. CONVGEN_NO_RECORD without an error sentence: see why. */
cg_status cg_recall(convgen_context *c, const convgen_problem *p, const cg_record *key, cg_recalled *out);
bool cg_recalled_usable(const convgen_problem *p, const cg_recalled *r); /* checked, or sampled before in this process */
/* Samples it where the judge runs candidates, if it has to be. CONVGEN_NO_RECORD: it is wrong, why says how. */
cg_status cg_recalled_sample(const cg_judge *judge, const convgen_problem *p, cg_recalled *r);
void cg_recalled_job(const convgen_problem *p, const cg_record *r, cg_job *out); /* of sampling it */

/* ---- tune.c: the search ------------------------------------------------------------------------------------------ */

typedef struct cg_outcome {
    cg_record record;
    cg_schedule chosen;
    bool recalled, complete; /* recalled: the record's figures are not of this run; complete: not cut by time or cancelled */
    char warning[CG_WHY];    /* why the store could not be read or written, or "" */
    bool sampled; /* the time was up before anything was verified: checked on a sample only, never timed, not remembered */
    int candidates, refused;
    double seconds;
    const char *because; /* "", or why the winner is not the fastest of the final */
} cg_outcome;
/* What the last time of a candidate is worth: one round's, or those of the final, in which the winner was found. */
typedef enum { CG_BRIEF, CG_LONGER, CG_FINAL } cg_round;
/* One refused or timed candidate, for progress and reports. ns_min 0: refused, see why. Who is timed again later is told of once more at
 * the end, in its last round. */
typedef struct cg_tried {
    const cg_schedule *schedule;
    double ns_min, ns_median;
    const char *why;
    double done; /* share of the candidates that are behind us */
    cg_round round;
    bool again;
} cg_tried;
typedef struct cg_tuning {
    const convgen_problem *problem;
    const char *compiler; /* NULL: "tcc" */
    convgen_effort effort;
    double seconds;       /* 0: no limit; how far it binds: race.c, "time" */
    int threads;          /* 0: the context's */
    const char *target;   /* NULL: the context's */
    bool network;         /* for a network: its conditions are of the key; a warm record is content for who does not time */
    bool again;           /* tune even when a record is there */
    bool finish;          /* a record of a search that was cut short is not recalled: the search goes on after it */
    bool strict;          /* rather nothing than later than `seconds` */
    void (*tried)(void *user, const cg_tried *t);
    bool (*go_on)(void *user); /* false: stop, best so far is kept */
    void *user;
    cg_kernel *kernel;         /* NULL: not wanted; else the outcome's as it was judged, the caller's, where the judge has it: else untouched */
} cg_tuning;
/* All efforts. RECALL only looks; ESTIMATE verifies a sample and never times; both others put the winner into the store, unless
 * go_on stopped them. CONVGEN_STORE with a schedule in out->record: the outcome is good, but could not be remembered. */
cg_status cg_tune(convgen_context *c, const cg_judge *judge, const cg_tuning *t, cg_outcome *out);

/* ---- worker.c: a process that may crash for us (command only) ---------------------------------------------------- */

/* Forks a worker that answers jobs; call before any thread exists. A candidate that kills it, or runs longer than the time
 * limit, is refused with that reason and a new worker is forked. */
cg_status cg_worker_start(convgen_context *c, cg_judge *out);
typedef cg_status cg_judge_maker(convgen_context *c, cg_judge *out);
cg_status cg_worker_start_with(convgen_context *c, cg_judge_maker *make, cg_judge *out); /* the judge in the worker, for tests */
double cg_worker_limit(const cg_job *job); /* seconds; $CONVGEN_TIME_LIMIT, or by the problem's size and what is asked */
void cg_worker_stop(cg_judge *judge);
void cg_worker_interrupt(void); /* async-signal-safe: kills the running worker */

#endif
