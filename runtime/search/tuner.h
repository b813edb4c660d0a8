/* tuner.h: what the files of one search share: tune.c, its story, candidates.c, race.c and keep.c. Nobody else includes it. */
#ifndef CONVGEN_TUNER_H
#define CONVGEN_TUNER_H

#include "search/search.h"

enum { FINAL_ROUNDS = 5 };

typedef struct cg_candidate {
    const cg_schedule *schedule;
    cg_verdict verdict;
    cg_timing timing;
    size_t packed;
    bool survived, checked, racing; /* survived: verified, as far as was asked for; checked: in full */
    bool reported, withdrawn, hurried; /* withdrawn: refused after it was reported; hurried: there was no time to run it again */
    cg_round round;
    double median[FINAL_ROUNDS];
} cg_candidate;

typedef struct cg_tuner {
    convgen_context *context;
    const cg_judge *judge;
    const cg_tuning *tuning;
    cg_outcome *out;
    convgen_problem problem;
    cg_record key;       /* what we look for and will remember */
    char incumbent[CG_NAME]; /* schedule of a record that is there but not taken, or of a tighter budget; "": none */
    cg_schedule_list list;
    cg_candidate *at, **ranked;
    int count;
    cg_job job;
    double start, best_ns, best_first; /* over survivors; INFINITY at first */
    int behind; /* of the list: tried already by the search that is to be finished */
    bool hinted; /* the list begins with what won elsewhere, out of its order */
    bool kept, known; /* the incumbent is of this problem's own record; and that record may be used */
    bool survivor, checked, cancelled, out_of_time; /* one survived, as far as was asked for; one did in full */
    cg_status status, store; /* status: why nothing can go on */
} cg_tuner;

/* candidates.c: fills list and at. */
cg_status cg_candidates_list(cg_tuner *u);

/* race.c */
cg_candidate *cg_race_fastest(cg_tuner *u);     /* NULL: none survived, or u->status */
cg_candidate *cg_race_first_sound(cg_tuner *u, bool say); /* chosen without a clock: the first by estimate that gives right answers on a sample */
bool cg_race_in_full(cg_tuner *u, cg_candidate *k); /* who was timed on the strength of a sample, before it is chosen */
int cg_by_time(const void *a, const void *b);   /* of pointers to candidates */
bool cg_is_incumbent(const cg_tuner *u, const cg_candidate *k);

/* keep.c */
void cg_record_of(const cg_record *key, const cg_candidate *k, cg_record *r);
cg_status cg_keep(cg_tuner *u, const cg_candidate *best);

#endif
