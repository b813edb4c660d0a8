/* internal.h: what the library's files promise each other, one section per .c file, in pipeline order.
 *
 * problem text -> problem -> schedules -> source -> code -> trusted -> timed -> remembered -> run */
#ifndef CONVGEN_INTERNAL_H
#define CONVGEN_INTERNAL_H

#include "convgen.h"
#include <stdarg.h>
#include <stdio.h>

typedef convgen_status cg_status;

enum {
    CG_TEXT = 512,     /* canonical problem text with its end mark */
    CG_NAME = 96,      /* schedule, compiler; gen/names.lua has one less */
    CG_WHY = 256,      /* why a candidate was refused, one sentence */
    CG_STAGES = 16,    /* stages of one schedule */
    CG_ENDS = 64,      /* tasks that begin or end a part of a stage */
    CG_KEY = 192,      /* machine key */
    CG_SCHEDULES = 256 /* schedules listed for one problem */
};

/* ---- memory.c: allocation, guard pages, errors ------------------------------------------------------------------- */

/* All of the runtime allocates through these, so that tests can make the n-th allocation fail. cg_realloc(NULL, n) is malloc,
 * cg_realloc(p, 0) is not used. */
void *cg_malloc(size_t size);
void *cg_calloc(size_t count, size_t size); /* multiplication checked */
void *cg_realloc(void *old, size_t size);
void cg_free(void *p);
char *cg_strdup(const char *text);
void *cg_aligned(size_t size); /* 64-byte aligned; size 0 gives a valid pointer; cg_free frees it */
/* The same at the start of a page. Where memory lies in its pages decides what displaces what in the first cache: all that is
 * timed, and a plan's own workspaces, lie alike. */
void *cg_page_aligned(size_t size);
/* Pages that can be read and written, of their own, all zero. */
void *cg_pages(size_t size);
void cg_pages_free(void *pages, size_t size);
extern long cg_fail_allocation; /* tests: the n-th allocation from now (1 = the next) fails; 0: none; counts down */
extern bool cg_fail_onwards;    /* and every following one: then the count stays at 1 */
bool cg_fails_now(void);        /* asked before each */
bool cg_multiply(size_t a, size_t b, size_t *out); /* false on overflow */

/* Memory of `size` bytes that begins right after, or ends right before, a page that faults. */
typedef struct cg_guarded {
    void *data;
    size_t size;
    void *map;
    size_t map_size;
} cg_guarded;
cg_status cg_guarded_new(size_t size, bool flush_right, size_t alignment, cg_guarded *out); /* flush right is exact when size is a multiple of alignment */
/* The same in the memory that g has (all zero: none), with what is in it, or in new memory when that is too small. */
cg_status cg_guarded_fit(size_t size, bool flush_right, size_t alignment, cg_guarded *g);
void cg_guarded_free(cg_guarded *g);

/* Sets this thread's error sentence and returns `status`. */
cg_status cg_fail(cg_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *cg_error_text(void);
cg_status cg_error_status(void); /* of that sentence */

uint64_t cg_hash(const void *data, size_t size, uint64_t seed); /* FNV-1a 64; seed 0 starts */
/* splitmix64: what a word becomes, and a stream from a seed. */
static inline uint64_t cg_mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}
uint64_t cg_random(uint64_t *state);
double cg_uniform(uint64_t *state); /* [-1, 1) */
double cg_now(void); /* monotonic seconds */
extern double (*cg_clock)(void); /* tests: what cg_now says; NULL: the clock */
/* When this thread's work has to end, in seconds of cg_now; INFINITY, the default: never. Loops that may take long ask. */
double cg_deadline(void);
double cg_deadline_set(double at); /* and what it was */
bool cg_late(void);
cg_status cg_in_time(void); /* CONVGEN_CANCELLED with a sentence when it is late */
/* Between these two, this thread reads and writes numbers with a point, whatever the host's locale says. */
void *cg_locale_enter(void);
void cg_locale_leave(void *before);

/* A growing text, ended by 0; text may be NULL when empty. failed sticks on lack of memory. */
typedef struct cg_buffer {
    char *text;
    size_t length, room;
    bool failed;
} cg_buffer;
void cg_buffer_add(cg_buffer *b, const char *text, size_t length);
void cg_buffer_printf(cg_buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cg_buffer_free(cg_buffer *b);
cg_status cg_read_file(const char *path, size_t limit, cg_buffer *out); /* CONVGEN_STORE with path and reason on failure */

/* ---- notation.c: the text of a problem, read and written ------------------------------------------------------------ */

/* The state of a list reader: options hold from their place on. */
typedef struct cg_options {
    convgen_problem base; /* pass, type, layout, accuracy, weights, bias, epilogue as the options say */
    int64_t mb;           /* --mb, 0: as the problem says */
    int threads;          /* --threads, 0: not given */
    char target[16];      /* --target, "": not given */
} cg_options;
void cg_options_default(cg_options *o); /* FWD_B, f32, nhwc, loop, changing, as benchdnn */
/* One word: "--key=value" of a problem option. CONVGEN_OK taken; CONVGEN_UNSUPPORTED not a problem option (no error set);
 * CONVGEN_BAD_PROBLEM a bad value. --reset restores `initial`. */
cg_status cg_option_take(cg_options *o, const cg_options *initial, const char *word);
cg_status cg_option_unknown(const char *word); /* says which there are */

typedef struct cg_named_problem {
    convgen_problem problem; /* normalised */
    char name[CG_NAME];      /* n"..." or "" */
    int threads;
    char target[16];
    long multiplicity; /* how often a network has this layer: a trailing "*N" of a list line (ours), else 1 */
} cg_named_problem;
/* The descriptor alone; the options stood before it. */
cg_status cg_problem_parse(const char *word, const cg_options *o, cg_named_problem *out);
const char *cg_pass_name(const convgen_problem *p);   /* "FWD_D", "FWD_B", "BWD_D", "BWD_W", "BWD_WB": the dir */
const char *cg_type_name(convgen_type t);             /* "f32" */
const char *cg_tag_name(convgen_layout l);            /* "nhwc" */
const char *cg_accuracy_name(convgen_accuracy a);     /* "loop" */
const char *cg_weights_name(convgen_weights w);       /* "changing" */
/* Numbers of a text that travels between machines have a point, whatever the host's locale says; written in the fewest digits
 * that read back exactly. */
double cg_read_real(const char *text, char **end);
void cg_write_real(double value, char text[40]);
bool cg_whole_number(const char *text, int64_t least, int64_t most, int64_t *out); /* all of text, decimal */
cg_status cg_fail_at(cg_status status, const char *place); /* puts a place before the error sentence */

/* ---- list.c: a text -> its words, one problem or many -------------------------------------------------------------- */

typedef struct cg_problem_list {
    cg_named_problem *at;
    int count, room;
} cg_problem_list;
enum { CG_MOST_PROBLEMS = 100000 }; /* of one list and all that it includes */
cg_status cg_list_add(cg_problem_list *list, const cg_named_problem *p);
/* Reads a list in benchdnn's style: # comments, options, problems, --batch=FILE relative to the list (depth at most 8, 1,000 files and
 * 16 MB in all).
 * An error names path and line: "net.txt:7: ...". */
cg_status cg_list_read(const char *path, const cg_options *initial, cg_problem_list *list);
void cg_list_free(cg_problem_list *list);

/* ---- problem.c: legality, sizes ------------------------------------------------------------------------------------- */

enum { CG_MOST_THREADS = 1024 }; /* of one convolution */
#define CG_MOST ((int64_t)INT32_MAX) /* of any dimension: so out * stride + kernel * dilation + pad stays within int64 */
/* Fills defaults in place (0 -> 1, out computed) and checks; after it every size is >= 1 and no product of a tensor's sizes
 * times 16 overflows int64. Says what is wrong, naming the dimension and what is allowed. */
cg_status cg_problem_normalise(convgen_problem *p);

/* After normalise. Element counts; index arithmetic is int64. */
typedef struct cg_sizes {
    int64_t src, weights, bias, dst; /* elements of each tensor, bias = out_channels */
    size_t element;                  /* 4 or 8 */
    double macs;                     /* multiply-adds with padded taps counted, as the field counts */
} cg_sizes;
cg_sizes cg_problem_sizes(const convgen_problem *p);
bool cg_problem_equal(const convgen_problem *a, const convgen_problem *b);

/* ---- machine.c: what this processor is --------------------------------------------------------------------------- */

/* What moving a line costs: rates.c. */
typedef enum {
    CG_RATE_L2, CG_RATE_L3, CG_RATE_MEMORY,      /* it is read from there */
    CG_RATE_STORE_L3, CG_RATE_STORE_MEMORY,      /* written, where all that is written fits the last cache, and where not */
    CG_RATE_STREAM_L3, CG_RATE_STREAM_MEMORY,    /* written past the caches, where it lay in the last one, and where not */
    CG_RATE_PAGE,                                /* what a read one costs more when each is on another page */
    CG_RATES
} cg_rate;

typedef struct cg_machine {
    char vendor[16], name[64];
    int family, model, stepping;
    char features[160]; /* names the OS also saves registers for, space-separated, sorted: "avx avx2 avx512f ... fma" */
    long l1d, l2, l3;   /* bytes, 0 unknown */
    int line, cores;    /* bytes; cores of the affinity mask */
    double rate[CG_RATES]; /* cycles for 64 bytes; 0: not known, the target's row has what is assumed */
    double bandwidth;      /* GB/s read from memory by one core; 0: not known */
    char key[CG_KEY];   /* one word without spaces: vendor-family-model-features hash-caches */
} cg_machine;
void cg_machine_detect(cg_machine *m);
/* What an x86 processor answers: cpuid (false: it has no such leaf), and xgetbv of XCR0, asked only where the system uses it. */
typedef struct cg_cpu {
    bool (*leaf)(unsigned number, unsigned sub, unsigned reg[4]);
    unsigned (*xcr0)(void);
} cg_cpu;
void cg_machine_of(const cg_cpu *cpu, cg_machine *m); /* x86 only: identity, features and caches that it tells, into zeros */
bool cg_machine_has(const cg_machine *m, const char *feature);
/* Measured on this thread, GFLOP/s of fma with `bits` wide vectors (512, 256, 128; 0 when the machine lacks them). About 30 ms. */
double cg_measure_peak(const cg_machine *m, int bits, convgen_type type);

/* ---- rates.c: what moving a line costs ------------------------------------------------------------------------------ */

typedef struct cg_rate_row {
    const char *name;   /* "l2"; "rate l2" in the store, "rate_l2" in JSON */
    double least, most; /* what is beyond them was measured badly */
    cg_rate not_above;  /* the rate of the level behind it; CG_RATES: none */
} cg_rate_row;
extern const cg_rate_row cg_rate_rows[CG_RATES];
/* Measures rates and bandwidth on this thread, for 0.1 to 0.3 s and with up to 280 MB; 0: it cannot be told here. Unchecked. */
void cg_rates_measure(cg_machine *m);
void cg_rates_check(double rate[CG_RATES]); /* 0 for what cannot be right */
/* The machine's rates, checked, and bandwidth when the store has them all; false: it has not, and the machine's stay. */
typedef struct cg_store cg_store;
bool cg_rates_recall(cg_store *s, cg_machine *m);
cg_status cg_rates_keep(cg_store *s, const cg_machine *m); /* under its key */

/* ---- arena.c: many small blocks that go at once ------------------------------------------------------------------------ */

enum { CG_ARENA_CLASSES = 16 }; /* of small blocks, 16 bytes apart */
typedef struct cg_arena { /* all zero: empty */
    char *at, *end;       /* what the last chunk has left */
    size_t chunk;         /* bytes of the next one */
    void *free[CG_ARENA_CLASSES];
    struct cg_large *large; /* chunks too */
} cg_arena;
void *cg_arena_new(cg_arena *a, size_t size); /* 16-byte aligned; size above 0 */
void *cg_arena_resize(cg_arena *a, void *old, size_t old_size, size_t size); /* NULL: old is as it was */
void cg_arena_free(cg_arena *a, void *p, size_t size);
void cg_arena_end(cg_arena *a);

/* ---- script.c and script_ask.c: the generator; with script_emit.c the only ones that see lua.h --------------------------------------- */

typedef struct cg_script cg_script; /* one Lua state with its lock; any thread may call */
cg_status cg_script_new(cg_script **out); /* loads the embedded generator, or $CONVGEN_GEN_DIR's */
void cg_script_free(cg_script *s);
extern int cg_script_limit; /* million Lua instructions of one call, or of one family's list; tests lower it */
extern long cg_script_uncounted; /* allocations of a call before its work is counted; tests that want all of it counted: 0 */
int cg_script_work(const cg_script *s); /* of the last call, in million Lua instructions: what it is limited by, and what tests count */

/* A row of gen/targets.lua. */
typedef struct cg_target {
    char name[16];
    int bits;
    char flags[160]; /* what a system compiler needs: "-mavx512f ..." */
    bool machine;    /* the machine form exists for it */
    double rate[CG_RATES]; /* what is assumed of a machine that was not measured */
} cg_target;
/* The form that a compiler gets: libtcc, which knows no vectors, the machine form where there is one; others C. */
const char *cg_form(const cg_target *target, const char *compiler);
/* wanted NULL or "": the best the machine has. Else that one, CONVGEN_UNSUPPORTED naming what it needs or which there are. A
 * machine NULL has everything. */
cg_status cg_script_target(cg_script *s, const cg_machine *m, const char *wanted, cg_target *out);

typedef struct cg_schedule {
    char name[CG_NAME], family[16];
    char way[CG_NAME]; /* what it is but for its sizes: "gather/direct.across.stream" */
    int version;     /* of the family */
    double cycles;   /* the estimate */
    char arithmetic[CG_NAME]; /* what decides the bits of its results: all schedules with the same word give the same; "" refused */
    char why[CG_WHY]; /* "" legal, else why it was refused */
} cg_schedule;
typedef struct cg_schedule_list {
    cg_schedule *at;
    int count;
} cg_schedule_list;
/* What the generator is asked about. form: "c" or "machine". */
typedef struct cg_request {
    const convgen_problem *problem; /* normalised */
    const cg_machine *machine;
    const char *target, *form;
    int threads;
    const char *asked; /* a schedule that the list has to have whatever its estimate, or NULL */
    bool steady;       /* the order of ESTIMATE: the arithmetic of the first does not depend on threads, nor that of the next */
    bool all;          /* the list has to have every legal schedule */
} cg_request;
/* Legal ones first, best estimate first, at most about 60 unless all are asked for; then the refused ones. cg_free(list->at). */
cg_status cg_script_schedules(cg_script *s, const cg_request *r, cg_schedule_list *list);
cg_status cg_script_family_version(cg_script *s, const char *family, int *version); /* CONVGEN_UNSUPPORTED: no such family */
/* The family of a schedule, and its chains as in cg_source. CONVGEN_UNSUPPORTED: it is none, or the problem's accuracy does not admit
 * it; why says it. */
cg_status cg_script_admits(cg_script *s, const cg_request *r, const char *schedule, char family[16], int *chains, char why[CG_WHY]);
cg_status cg_script_generator(cg_script *s, char versions[CG_NAME]); /* of all families: "4.5.3.6.1" */

typedef struct cg_stage {
    char name[24], symbol[48]; /* "compute", "cg_stage_compute" */
    long tasks;
    size_t scratch; /* bytes a thread, 64-byte aligned */
    bool pack;      /* turns weights into packed; the only one convgen_pack runs */
    bool shares;    /* reads or writes the memory that stages share */
    int ends;       /* tasks among which every part of the stage has its first and its last one; 0: not known */
    long end[CG_ENDS];
} cg_stage;
typedef struct cg_source {
    char *text;
    size_t length;
    size_t packed, shared; /* bytes of packed weights and of memory that stages share */
    int stage_count;
    cg_stage stage[CG_STAGES];
    int chains;         /* how many chains the sum of one output is split into; 1 is canonical; 0: transforming family */
    int64_t tile[3];    /* of a transforming family: outputs from the first to the last of a tile, d, h, w */
} cg_source;
cg_status cg_script_source(cg_script *s, const cg_request *r, const char *schedule, cg_source *out, char why[CG_WHY]);
void cg_source_free(cg_source *source);
/* Text of one stage of the pipeline for people: "schedules", "program", "driver", "source", "code". */
cg_status cg_script_show(cg_script *s, const cg_request *r, const char *schedule, const char *stage, cg_buffer *out);

/* ---- script_emit.c: a network -> stand-alone files ----------------------------------------------------------------------- */

enum { CG_TARGETS = 4 }; /* of one emitted library */
typedef struct cg_emit_kernel {
    const char *schedule, *from;                          /* from: why this schedule, for the reader */
    double error_normwise, error_vs_loop, error_vs_bound; /* NaN: not measured */
} cg_emit_kernel;
typedef struct cg_emit_layer {
    const char *name;               /* as in the list, or "" */
    const convgen_problem *problem; /* normalised */
    int threads;
    long multiplicity;
    cg_emit_kernel kernel[CG_TARGETS]; /* one for each target */
} cg_emit_layer;
typedef struct cg_network {
    const char *prefix, *form; /* form: "c" or "asm" */
    bool openmp, elsewhere; /* elsewhere: the machine is not this one */
    const cg_machine *machine;
    const char *target[CG_TARGETS]; /* best first, the last one needs nothing */
    int target_count, layer_count;
    const cg_emit_layer *layer;
} cg_network;
/* Takes one file; a status ends the emission. */
typedef cg_status cg_emit_put(void *user, const char *name, const char *text, size_t length);
/* Nothing about the files depends on more than the network. CONVGEN_UNSUPPORTED: what is asked for cannot be, and why.
 * go_on (NULL: always) is asked while a file is made, some hundred times a second: false ends it, CONVGEN_CANCELLED. */
cg_status cg_script_emit(cg_script *s, const cg_network *n, cg_emit_put *put, bool (*go_on)(void *user), void *user);

/* ---- temporary.c: folders for a while ------------------------------------------------------------------------------ */

enum { CG_PATH = 256 };
typedef struct cg_temporary {
    char path[CG_PATH]; /* "": none */
    int lock;           /* of it, while we live */
} cg_temporary;
cg_status cg_temporary_new(cg_temporary *t); /* mode 0700, below $TMPDIR; what killed processes left there is removed */
void cg_temporary_remove(cg_temporary *t);   /* with what is in it */

/* ---- jit.c and toolchain.c: C text -> code ------------------------------------------------------------------------ */

typedef struct cg_code cg_code;
/* compiler "tcc": in memory, with libtcc. Else a command name or path such as "cc": that compiler and dlopen. */
cg_status cg_code_new(const char *text, const char *compiler, const char *flags, cg_code **out, char why[CG_WHY]);
void *cg_code_symbol(const cg_code *code, const char *name); /* NULL: not there */
void cg_code_free(cg_code *code);
/* The two makers behind cg_code_new. */
cg_status cg_jit(const char *text, cg_code **out, char why[CG_WHY]);
cg_status cg_toolchain(const char *text, const char *compiler, const char *flags, cg_code **out, char why[CG_WHY]);
void *cg_toolchain_symbol(const cg_code *code, const char *name);
void cg_toolchain_end(cg_code *code);
struct cg_code {
    void *map; /* loader.c: an own mapping, r-x at rest */
    size_t map_size;
    void *symbols; /* loader.c: in the mapping */
    void *handle; /* toolchain.c: dlopen */
};

/* ---- libc.c and loader.c: what jit.c stands on ------------------------------------------------------------------------ */

/* Runs work(job), which calls libtcc, from libtcc's state at load; takes back all memory that it had. CONVGEN_NO_MEMORY or
 * CONVGEN_COMPILER, without a sentence, where libtcc would have ended the process. One at a time. */
cg_status cg_tcc_run(cg_status (*work)(void *job), void *job, cg_buffer *file); /* file: what libtcc wrote */

/* What an object may call; the last has no name. */
typedef void cg_function(void);
typedef struct cg_supplied {
    const char *name;
    cg_function *at;
} cg_supplied;
/* Fills map, map_size, symbols. On failure what is there is for cg_load_end. */
cg_status cg_load(const void *file, size_t size, const cg_supplied *supplied, cg_code *code, char why[CG_WHY]);
void *cg_load_symbol(const cg_code *code, const char *name);
void cg_load_end(cg_code *code);

/* What generated code sees. Layout is repeated in templates/kernel.c.in. */
typedef struct cg_call {
    void *src, *weights, *bias, *dst, *residual;
    void *packed; /* packed weights: the user's, or the workspace's part for them */
    void *shared; /* what stages share */
} cg_call;
typedef void cg_stage_fn(const cg_call *call, void *scratch, long first, long last);

/* ---- reference.c: what the answer is ------------------------------------------------------------------------------- */

/* The four tensors of a problem; the pass says which are inputs. residual may be NULL. */
typedef struct cg_operands {
    void *src, *weights, *bias, *dst, *residual;
} cg_operands;

/* Element index ranges of one output tensor: for backward weights `bias_gradient` chooses diff_bias. */
typedef enum { CG_EXACT, CG_LOOP, CG_COURSE, CG_CANONICAL } cg_order;
/* Writes outputs [first, first+count) (linear elements of the pass's output tensor) to `out` in the problem's type, epilogue
 * included. CG_CANONICAL is the fma chain (blocks of CG_BLOCK output pixels for backward weights), `chains` as the schedule
 * states. CG_EXACT in f32 sums in double, in f64 in double-double, rounded at the end. */
cg_status cg_reference(const convgen_problem *p, const cg_operands *o, cg_order order, int chains, bool bias_gradient,
                       int64_t first, int64_t count, void *out);
/* The exact values as an unevaluated pair (high + low), sum |a||b| (with |bias| and |residual|) and the count of terms. */
cg_status cg_reference_exact(const convgen_problem *p, const cg_operands *o, bool bias_gradient, int64_t first, int64_t count,
                             double *high, double *low, double *magnitude, int64_t *terms);
int64_t cg_output_elements(const convgen_problem *p, bool bias_gradient);
void cg_output_sizes(const convgen_problem *p, bool bias_gradient, int64_t size[5]); /* of its axes as they are stored, fastest last */
/* Where an element of the output tensor is: {batch, d, h, w, channel}, of weights {input channel, d, h, w, output channel}. */
void cg_output_place(const convgen_problem *p, bool bias_gradient, int64_t element, int64_t at[5]);
int64_t cg_reference_terms(const convgen_problem *p, bool bias_gradient); /* the most terms of one output; bias and residual count */
/* Backward weights sum one chain of fma from zero per block, and add the blocks in order from zero. Blocks: within each (n, od)
 * plane, rows are taken `cg_block_rows` at a time; where ow > CG_BLOCK a block is a part of a row of at most CG_BLOCK pixels. */
enum { CG_BLOCK = 512 };
static inline int64_t cg_block_rows(int64_t ow) { return ow >= CG_BLOCK ? 1 : CG_BLOCK / ow; }

/* ---- kernel.c: source and code -> a kernel that runs ------------------------------------------------------------------- */

/* How stages become calls. */
typedef struct cg_kernel {
    cg_source source; /* its text may be NULL */
    cg_code *code;
    cg_stage_fn *stage[CG_STAGES];
    bool machine; /* the form */
} cg_kernel;
cg_status cg_kernel_new(cg_script *s, const cg_request *r, const char *schedule, const char *compiler, const char *flags,
                        cg_kernel *out, char why[CG_WHY]);
void cg_kernel_free(cg_kernel *k);
static inline size_t cg_round64(size_t n) { return (n + 63) & ~(size_t)63; }
/* Bytes of a workspace: [packed][shared][scratch x threads], each part rounded up to 64. */
size_t cg_kernel_workspace(const cg_kernel *k, int threads);
/* packed NULL: weights are packed into the workspace first. workspace: 64-byte aligned. */
struct cg_parallel;
void cg_kernel_run(const cg_kernel *k, const struct cg_parallel *par, const cg_operands *o, void *packed, void *workspace);
/* The same while there is time: before a stage of eight tasks or more the first one is run once more than needed, as a probe.
 * CONVGEN_CANCELLED: the deadline has passed, or a run of it would end beyond it (then cg_late is false, and the sentence says how long
 * it takes). Without a deadline it is cg_kernel_run. */
cg_status cg_kernel_run_in_time(const cg_kernel *k, const struct cg_parallel *par, const cg_operands *o, void *packed, void *workspace);
/* Of the stages that no other one reads from, `most` tasks of those at the ends of their parts; of the others all. *ran: of stage `counted`. */
cg_status cg_kernel_run_ends(const cg_kernel *k, const cg_operands *o, void *packed, void *workspace, long most, int counted, long *ran);
bool cg_stage_is_last(const cg_kernel *k, int stage); /* none reads from it */
void cg_kernel_pack(const cg_kernel *k, const struct cg_parallel *par, const void *weights, void *packed, void *workspace);

/* A workspace, and memory for packed weights where the problem's are fixed (else NULL); the kernel's answers in them.
 * All zero is an empty room; it grows with what it has to hold: new memory for every kernel would cost more than its run. */
typedef struct cg_room {
    void *workspace, *packed;
    size_t workspace_size, packed_size; /* as they are; a kernel may need less */
} cg_room;
cg_status cg_room_fit(const cg_kernel *k, const struct cg_parallel *par, const convgen_problem *p, cg_room *r);
void cg_room_poison(const cg_kernel *k, const struct cg_parallel *par, const cg_room *r); /* NaNs, where the kernel works */
void cg_room_free(cg_room *r);
cg_status cg_kernel_answer(const cg_kernel *k, const struct cg_parallel *par, const cg_operands *o, const cg_room *r); /* in time */

/* For plain loops over numbers: one clone per level of x86-64, so that fma is an instruction and rows vectorise; chosen at load time. Sanitizers break the
 * resolvers, which run before they are set up. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

/* ---- data.c: the numbers that kernels are judged on ------------------------------------------------------------------------ */

enum { CG_SRC, CG_WEIGHTS, CG_BIAS, CG_DST, CG_RESIDUAL, CG_TENSORS };
typedef enum { CG_ABSENT, CG_INPUT, CG_RESULT } cg_role;
void cg_roles(const convgen_problem *p, cg_role role_of[CG_TENSORS]);
void cg_tensor_bytes(const convgen_problem *p, size_t bytes[CG_TENSORS]);
int cg_output_tensor(const convgen_problem *p, bool bias); /* the pass's, or the bias gradient */
int cg_data_tensor(const convgen_problem *p);              /* the input that is no weights: src, or diff_dst of backward data */
/* Input `tensor` as that kind of data has it; each run has other numbers. Past the thread's deadline it is left unfinished. */
void cg_fill(const convgen_problem *p, convgen_data kind, int tensor, void *data, size_t bytes, uint64_t run);
/* Integers so small that no sum leaves -range to range. */
void cg_fill_integers(const convgen_problem *p, int tensor, void *data, size_t bytes, double range);

/* ---- trial.c and verify.c: code -> trusted --------------------------------------------------------------------------- */

/* A problem's data and expected answers, made once and used for all its candidates. */
typedef struct cg_trial cg_trial;
/* guards: operands between guard pages (the command's worker), else red zones on the heap (the library). Allocates only on
 * first need. */
cg_status cg_trial_new(const convgen_problem *p, bool guards, cg_trial **out);
void cg_trial_free(cg_trial *t);
typedef struct cg_verdict {
    bool ok, inexact; /* inexact: refused for its error alone, which all schedules of its arithmetic have */
    char why[CG_WHY];
    double error_normwise, error_vs_loop, error_vs_bound; /* NaN when not measured */
    double vs_loop[CONVGEN_DATA_KINDS];                    /* of a transforming family, when measured */
    double seconds;                                        /* of the first run: a hint of the time */
    long tasks;       /* that a sample ran; */
    double macs;      /* about so many multiply-adds in them; */
    size_t filled;    /* and bytes of inputs that it made */
    char on[CG_TEXT]; /* the smaller problem that the same schedule was checked on; "": the problem itself */
} cg_verdict;
typedef enum { CG_VERIFY_SAMPLE, CG_VERIFY_FULL, CG_VERIFY_SOME } cg_verify_level;
/* Random data flush right: all outputs equal the canonical chain; small integers with one NaN flush left: exact and the NaN only
 * in its receptive field; poisoned outputs, scratch and workspace; inputs and red zones untouched; the bound element by element.
 * A transforming family: within its budget (budget.c); small integers exact after rounding; a NaN and an infinity only in its tile.
 * SAMPLE: some outputs of some tasks: sample.c. SOME: the same of the problem itself, however much a task is (tune.c looks for smaller
 * problems for SAMPLE). */
cg_status cg_verify(cg_trial *t, const cg_kernel *k, const struct cg_parallel *par, cg_verify_level level, cg_verdict *out);
double cg_sample_excess(const convgen_problem *p, const cg_kernel *k); /* by how much the tasks of a sample are beyond what it may run; 1: just not */
/* Borrowed from the trial, for the timer: its problem; uniform random operands, each at the start of a page, as large tensors
 * are in most programs; a room. */
const convgen_problem *cg_trial_problem(const cg_trial *t);
cg_status cg_trial_data(cg_trial *t, cg_operands *out);
cg_status cg_trial_room(cg_trial *t, const cg_kernel *k, const struct cg_parallel *par, cg_room *out); /* fits that kernel */

/* ---- cut.c: a large problem -> a small one with the same schedules -------------------------------------------------------- */

bool cg_cut_needed(const convgen_problem *p); /* its operands are too large to be filled for a few outputs' sake */
/* The number-th (from 0) of them, whose operands are at most 16 MB where that can be; false: there are no more. */
bool cg_cut_down(const convgen_problem *p, int number, convgen_problem *out);
/* The number-th whose sums are so much shorter that a task has so many times fewer multiply-adds, as far as that can be. */
bool cg_cut_sums(const convgen_problem *p, double by, int number, convgen_problem *out);

/* ---- certificate.c: how exact an answer is ---------------------------------------------------------------------------- */

/* Ranges spread over `total` outputs: all of them, or short ones at the start, the end, and at random places between; so many
 * that they sum about `budget` terms, `most` outputs at most. */
typedef struct cg_spread {
    int64_t total, length, ranges;
    bool whole;
} cg_spread;
cg_spread cg_spread_over(int64_t total, int64_t terms, double budget, double most);
int64_t cg_spread_range(const cg_spread *s, int64_t i, int64_t *first); /* the length of range i */
typedef struct cg_meter {
    double error2, exact2, ulp_sum, ulp_max, of_bound;
    int64_t n;
} cg_meter;
convgen_figures cg_meter_read(const cg_meter *m);
typedef struct cg_measure {
    cg_meter got, loop, course;
    int64_t outputs, terms;
} cg_measure;
/* Errors of `got` (all outputs; may be NULL), of loop and course, on the outputs of a spread. */
cg_status cg_measure_outputs(const convgen_problem *p, const cg_operands *o, bool bias, const cg_spread *s, const void *got,
                             cg_measure *m);
/* The certificate of an answer; see convgen_errors. A kernel NULL leaves plan figures NaN. */
cg_status cg_certificate(const convgen_problem *p, const cg_kernel *k, const struct cg_parallel *par, convgen_errors *out);

/* ---- budget.c: how far a transforming family is from the loop ----------------------------------------------------------- */

double cg_budget(convgen_accuracy a); /* of the normwise error over the loop's on uniform data; twice that on other data */
const char *cg_data_name(convgen_data kind); /* "badly scaled" */

typedef struct cg_pool cg_pool; /* a problem's data of every kind and what it gives, made once for all candidates */
cg_status cg_pool_new(const convgen_problem *p, cg_pool **out);
void cg_pool_free(cg_pool *pool);
typedef struct cg_ratio {
    double normwise, vs_loop; /* in all */
    double channel_vs_loop;   /* the worst of any group of channels with outputs enough to tell */
    int64_t channel;          /* the first of that group */
    int64_t outputs;
} cg_ratio;
/* Runs the kernel, in a room that fits it, on that kind of data. CONVGEN_UNSUPPORTED: that would take too long. */
cg_status cg_pool_measure(cg_pool *pool, convgen_data kind, const cg_kernel *k, const struct cg_parallel *par, const cg_room *room,
                          cg_ratio *out);
/* All kinds; v->ok false with the figure and the budget in v->why when one is beyond it. */
cg_status cg_pool_judge(cg_pool *pool, const cg_kernel *k, const struct cg_parallel *par, const cg_room *room, cg_verdict *v);

/* ---- timer.c: trusted -> timed ----------------------------------------------------------------------------------------- */

typedef struct cg_timing {
    double ns_min, ns_median;
    int runs;
} cg_timing;
/* Seconds to time a kernel for, one run of which takes `run`: at least `seconds`, and several runs, since one alone may meet what
 * else the machine does; of slow ones few are enough. */
#define CG_SLOW 20e-3
double cg_time_enough(double run, double seconds);
typedef struct cg_stint {
    double seconds;  /* about so long; at least one run */
    double hopeless; /* after two runs longer than this many seconds there is no other; 0: never */
    bool cold;       /* caches swept before each run */
} cg_stint;
/* Times the kernel on its own aligned data; repeats of one sample grow until it is measurable. The trial keeps the data. */
cg_status cg_time(cg_trial *t, const cg_kernel *k, const struct cg_parallel *par, const cg_stint *stint, cg_timing *out);

/* ---- parallel.c: tasks over threads; the only file that sees omp.h ------------------------------------------------------ */

typedef struct cg_parallel {
    int threads;
    void (*parallel_for)(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread),
                         void *task);
    void *user;
} cg_parallel;
/* Contiguous shares; no region for one thread or one task; serial in a child of a fork. */
void cg_parallel_run(const cg_parallel *par, long tasks, void (*body)(void *task, long first, long last, int thread), void *task);

/* ---- records.c: timed -> remembered, a line each --------------------------------------------------------------------------- */

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

/* ---- book.c: all lines of a file --------------------------------------------------------------------------------------------- */

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

/* ---- store.c: the files of records -------------------------------------------------------------------------------------------- */

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

/* ---- tune.c: the search ----------------------------------------------------------------------------------------------------- */

/* Where candidates are judged: in this process, or in a worker that may crash (cli). */
typedef struct cg_job {
    convgen_problem problem;
    char schedule[CG_NAME], target[16], form[12], compiler[CG_NAME];
    int threads;
    int level;      /* cg_verify_level, or -1: build only */
    double seconds, hopeless; /* of timing: as of a cg_stint */
    double deadline; /* of cg_now: then it is given up, CONVGEN_CANCELLED; 0: none */
    bool cold;
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
    double seconds;       /* 0: no limit; how far it binds: tune.c, "time" */
    int threads;          /* 0: the context's */
    const char *target;   /* NULL: the context's */
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

/* ---- recall.c: key -> the record that may be used for it ---------------------------------------------------------------------- */

typedef struct cg_recalled {
    cg_record record;    /* its problem is the one asked for, whatever accuracy it was found under */
    bool other_accuracy; /* it was found under another one, which its schedule serves as well */
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

/* ---- worker.c: a process that may crash for us (command only) ----------------------------------------------------------------- */

/* Forks a worker that answers jobs; call before any thread exists. A candidate that kills it, or runs longer than the time
 * limit, is refused with that reason and a new worker is forked. */
cg_status cg_worker_start(convgen_context *c, cg_judge *out);
typedef cg_status cg_judge_maker(convgen_context *c, cg_judge *out);
cg_status cg_worker_start_with(convgen_context *c, cg_judge_maker *make, cg_judge *out); /* the judge in the worker, for tests */
double cg_worker_limit(const cg_job *job); /* seconds; $CONVGEN_TIME_LIMIT, or by the problem's size and what is asked */
void cg_worker_stop(cg_judge *judge);
void cg_worker_interrupt(void); /* async-signal-safe: kills the running worker */

/* ---- plan.c: remembered -> run --------------------------------------------------------------------------------------------------- */

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
cg_status cg_context_peak(convgen_context *c, const char *target, convgen_type type, double *gflops); /* measured once, kept in the store */
/* A plan for a known schedule, unverified: what records and tests use. */
cg_status cg_plan_for(convgen_context *c, const cg_outcome *outcome, const convgen_problem *p, convgen_plan **out);
const cg_kernel *cg_plan_kernel(const convgen_plan *plan);
const cg_parallel *cg_plan_parallel(const convgen_plan *plan);

#endif
