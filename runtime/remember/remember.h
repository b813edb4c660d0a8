/* remember.h: timed -> remembered. */
#ifndef CONVGEN_REMEMBER_H
#define CONVGEN_REMEMBER_H

#include "measure/measure.h"

/* ---- records.c: timed -> remembered, a line each ----------------------------------------------------------------- */

enum { CG_LINE = 4096 }; /* bytes of a line at most */
typedef struct cg_record {
    char machine[CG_KEY], target[16];
    int threads;
    char problem[CG_TEXT];
    char family[16];
    int version;
    char schedule[CG_NAME], form[12], compiler[CG_NAME];
    double ns_min, ns_median, error_normwise, error_vs_loop, error_vs_bound; /* NaN: not measured */
    char generator[CG_NAME]; /* the versions of all families then; "": not known */
    bool merged;  /* from another store, and not checked here yet */
    bool partial; /* of a search that did not try all that a search for this problem would */
    bool network; /* of the key: timed as a network meets it, inputs warm and weights evicted; else warm */
    int cut_after; /* 0: the search was finished; else its time was up after so many candidates */
    bool shipped; /* found in tuned/, not in the user's store; no part of the line */
} cg_record;
/* A small figure by name beside the records ("peak ..."). */
typedef struct cg_fact {
    char machine[CG_KEY], name[CG_NAME];
    double value;
} cg_fact;
void cg_record_format(const cg_record *r, cg_buffer *line);                              /* one line with its checksum and \n */
cg_status cg_record_parse(const char *line, size_t length, cg_record *out, char why[CG_WHY]);
void cg_fact_format(const cg_fact *f, cg_buffer *line);
cg_status cg_fact_parse(const char *line, size_t length, cg_fact *out, char why[CG_WHY]);
typedef enum { CG_RECORD_LINE, CG_FACT_LINE, CG_COMMENT_LINE, CG_FUTURE_LINE } cg_line_kind;
/* A name as convgen 0.1 wrote it becomes the one of the same schedule now; others stay. Lines are parsed with it. */
void cg_schedule_rename(char name[CG_NAME]);
cg_line_kind cg_line_kind_of(const char *line, size_t length); /* by its beginning; what is nothing else is a bad record */
size_t cg_line_length(const char *line, size_t length); /* without the blanks and line ends that it ends with */
int cg_record_order(const void *a, const void *b); /* of their keys: machine to compiler, generator, merged */
int cg_fact_order(const void *a, const void *b);
/* The record nearer to the key than *nearest that `takes` takes (NULL: any), and how near it is; below CG_EXACT_KEY it is the key's,
 * and *nearest CG_EXACT_KEY looks only for those. The latest line wins. OK also when there is none. */
enum { CG_EXACT_KEY = 4 };
typedef bool cg_record_filter(const cg_record *r, void *user);
cg_status cg_record_search(const cg_buffer *text, const cg_record *key, cg_record_filter *takes, void *user, int *nearest,
                           cg_record *out);
/* Fills the values of facts of one machine, NaN of those that are not there, and says how many are. */
cg_status cg_facts_search(const cg_buffer *text, cg_fact *fact, int count, int *found);

/* ---- book.c: all lines of a file --------------------------------------------------------------------------------- */

typedef struct cg_record_list {
    cg_record *at;
    int count, room;
    char (*bad)[CG_WHY]; /* lines that were skipped, named: "records:12: checksum does not match" */
    int bad_count, bad_room;
} cg_record_list;
void cg_records_free(cg_record_list *list);
typedef struct cg_book {
    cg_record_list records;
    cg_fact *fact;
    int fact_count, fact_room;
    cg_buffer kept; /* comments and lines of later formats, as they are */
} cg_book;
cg_status cg_book_parse(cg_book *b, const char *path, const cg_buffer *text); /* into an empty one; path names the bad lines */
void cg_book_format(const cg_book *b, cg_buffer *out);
/* The other's records come in as merged; what was measured here stays beside them, of two merged ones the faster. */
cg_status cg_book_join(cg_book *ours, const cg_book *other);
/* A merged record has been checked and timed here: its own line leaves, and `own` stays unless what was measured here before is as fast. */
cg_status cg_book_settle(cg_book *b, const cg_record *merged, const cg_record *own);
void cg_book_free(cg_book *b);

/* ---- store.c: the files of records ------------------------------------------------------------------------------- */

typedef struct cg_store cg_store;
/* path NULL: see convgen_options.store. Opens nothing yet. Where there is no place for records either, nothing is found, and what
 * is put is CONVGEN_STORE. */
cg_status cg_store_new(const char *path, cg_store **out);
void cg_store_free(cg_store *s);
const char *cg_store_path(const cg_store *s); /* "": no place */
/* The record of exactly this machine, target, threads, problem, form and compiler; the user's store before the shipped tuned/.
 * What this generator measured here is nearer than what another one did, and that than what was merged; of those the latest line
 * wins. CONVGEN_NO_RECORD without an error sentence when there is none. A missing file is empty. */
cg_status cg_store_find(cg_store *s, const cg_record *key, cg_record *out);
cg_status cg_store_find_if(cg_store *s, const cg_record *key, cg_record_filter *takes, void *user, cg_record *out); /* of those that `takes` takes */
/* Like find, for any thread count, version, compiler, form or machine: the nearest one. */
cg_status cg_store_hint(cg_store *s, const cg_record *key, cg_record *out);
cg_status cg_store_check(const cg_store *s); /* writes and takes back: CONVGEN_STORE when a record could not be kept now */
cg_status cg_store_put(cg_store *s, const cg_record *r); /* appended under the lock, a torn tail is ended first, flushed */
cg_status cg_records_read(const char *path, cg_record_list *out); /* latest of each key, sorted, stable; others skipped and named */
cg_status cg_store_merge(cg_store *s, const char *from); /* as cg_book_join; atomic */
cg_status cg_store_settle(cg_store *s, const cg_record *merged, const cg_record *own); /* as cg_book_settle; atomic */
cg_status cg_store_forget(cg_store *s, cg_record_filter *drop, void *user, int *dropped); /* atomic rename */
/* Small facts by name beside the records ("peak ..."), the same file and lock. */
cg_status cg_store_fact(cg_store *s, const char *machine, const char *name, double *value); /* CONVGEN_NO_RECORD: none */
cg_status cg_store_put_fact(cg_store *s, const char *machine, const char *name, double value);
int cg_store_facts(cg_store *s, cg_fact *fact, int count); /* fills the values of those of one machine; how many are there */
cg_status cg_store_put_facts(cg_store *s, const cg_fact *fact, int count); /* all or none of them */

/* ---- rates_kept.c: rates among the records ----------------------------------------------------------------------- */

/* The machine's rates, checked, and bandwidth when the store has them all; false: it has not, and the machine's stay. */
bool cg_rates_recall(cg_store *s, cg_machine *m);
cg_status cg_rates_keep(cg_store *s, const cg_machine *m); /* under its key */

#endif
