/* generate.h: problem -> schedules -> source, by the generator. */
#ifndef CONVGEN_GENERATE_H
#define CONVGEN_GENERATE_H

#include "machine/machine.h"

enum {
    CG_STAGES = 16,    /* stages of one schedule */
    CG_ENDS = 64,      /* tasks that begin or end a part of a stage */
    CG_SCHEDULES = 256 /* schedules listed for one problem */
};

/* ---- arena.c: many small blocks that go at once ------------------------------------------------------------------ */

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

/* ---- script.c and script_ask.c: the generator; with script_emit.c the only ones that see lua.h ------------------- */

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
    bool unrolls;      /* the compiler unrolls loops: C is as people read it, registers in arrays; libtcc does not */
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
    bool once;      /* its tasks add to outputs: none may run a second time */
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

/* ---- script_network.c: an operation of a network on views -> source ---------------------------------------------- */

enum { CG_RANK = 8, CG_CHAIN = 32, CG_STEP_OPERANDS = 8, CG_INDICES = 64 };
/* Operands of an operation are read from cg_call's members of these names, in order; the result is dst. */
enum { CG_OP_SRC, CG_OP_WEIGHTS, CG_OP_RESIDUAL, CG_OP_BIAS, CG_OP_SLOPE, CG_OP_DST, CG_SLOTS };
extern const char *const cg_slot_name[CG_SLOTS];
/* Where the elements of a tensor are, from the first one on. */
typedef struct cg_view {
    char type[4]; /* f32, f64, i64; "": there is none */
    int rank;
    int64_t dims[CG_RANK], strides[CG_RANK]; /* in elements; 0 where one element serves all */
} cg_view;
typedef struct cg_integers {
    int count;
    int64_t at[CG_INDICES];
} cg_integers;
typedef struct cg_numbers {
    int count;
    double at[CG_RANK];
} cg_numbers;
/* A step of a chain: from a slot, from an earlier step (1 is the first), or a number. */
typedef struct cg_step_operand {
    enum { CG_OF_SLOT, CG_OF_STEP, CG_OF_NUMBER } kind;
    int index;
    double value;
} cg_step_operand;
typedef struct cg_step {
    char name[16];
    int count;
    cg_step_operand operand[CG_STEP_OPERANDS];
    double lo, hi; /* an activation's, an exponent, alpha */
} cg_step;
/* As gen/network/kernels.lua has it, which says what each operation reads of the fields; those that it does not read are zero. */
typedef struct cg_operation {
    char op[24], mode[16], coordinates[24], rounding[24];
    cg_view view[CG_SLOTS];
    int steps;
    cg_step step[CG_CHAIN];
    cg_integers axes, kernel, stride, pad, dilation, before, indices;
    cg_numbers factors;
    bool counted;
    double epsilon, value;
} cg_operation;
/* The operation's source; sentence: what the text's head says. target, form as in cg_request. CONVGEN_UNSUPPORTED: there are no kernels for
 * it, why says it. */
typedef struct cg_operation_request {
    const cg_operation *operation;
    const char *sentence, *target, *form;
    int threads;
} cg_operation_request;
cg_status cg_script_operation(cg_script *s, const cg_operation_request *r, cg_source *out, char why[CG_WHY]);
cg_status cg_script_show_operation(cg_script *s, const cg_operation_request *r, const char *stage, cg_buffer *out);

/* ---- script_plan.c: a network file -> what is to be done -------------------------------------------------------- */

/* Where an operand is: bytes from the beginning of input or output number `index`, of the arena or of the weights file. PREPARED: made of
 * weights when a network is opened, by which slot it is says what. */
typedef struct cg_place {
    enum { CG_AT_NOWHERE, CG_AT_INPUT, CG_AT_OUTPUT, CG_AT_ARENA, CG_AT_WEIGHTS, CG_AT_PREPARED } kind;
    int index;
    int64_t offset;
} cg_place;
/* A tensor of the weights file: its first element is `offset` bytes from the beginning. view.type "": there is none. */
typedef struct cg_constant {
    cg_view view;
    int64_t offset;
} cg_constant;
/* What is done per channel with a convolution's sums, its bias with them, and so is folded into its weights. Operands are numbers, or a constant
 * with an element for each channel; batchnorm's are scale, bias, mean and variance. */
typedef struct cg_fold {
    enum { CG_FOLD_MUL, CG_FOLD_DIV, CG_FOLD_ADD, CG_FOLD_SUB, CG_FOLD_BATCHNORM, CG_FOLD_KINDS } op;
    struct {
        cg_constant of; /* its view's type "": number */
        double number;
    } operand[4];
    double epsilon;
} cg_fold;
enum { CG_FOLDS = 16 };
typedef struct cg_prepare {
    cg_constant weights, bias, slope; /* axes of the weights: taps, then two of channels, as channels-last problems have them */
    int folds;
    cg_fold fold[CG_FOLDS];
} cg_prepare;
/* One operation, in the order in which they run. */
typedef struct cg_planned {
    char *name, *sentence, op[24];
    char *problem;           /* a convolution: its text; else NULL */
    cg_prepare *prepare;     /* of a convolution */
    cg_operation *operation; /* of any other */
    cg_place place[CG_SLOTS], workspace;
    double macs, bytes; /* multiply-adds; what is read and written at least */
} cg_planned;
typedef struct cg_port {
    char *name, type[4];
    int rank;
    int64_t dims[CG_RANK];
} cg_port;
typedef struct cg_ports {
    int count;
    cg_port *at;
} cg_ports;
typedef struct cg_network_plan {
    cg_ports inputs, outputs;
    char *weights, hash[9]; /* the file's name; NULL: there is none. CRC-32 in hex digits; "": not told */
    int64_t weights_bytes, arena_bytes, arena_lower_bound;
    int count;
    cg_planned *at;
} cg_network_plan;
typedef struct cg_network_request {
    const char *text, *name; /* of the file, for sentences */
    size_t length;
    const char *target, *form;
    int threads;
    const int64_t *workspaces; /* bytes of each operation, or NULL */
    int count;                 /* of them */
} cg_network_request;
/* CONVGEN_BAD_PROBLEM with a sentence that names file and line. */
cg_status cg_script_network(cg_script *s, const cg_network_request *r, cg_network_plan *out);
void cg_network_plan_free(cg_network_plan *plan);
/* Text of one stage of a network for people: "simplified", "fused", "layout", "memory"; "driver" or "source" of an operation. */
cg_status cg_script_show_network(cg_script *s, const cg_network_request *r, const char *stage, cg_buffer *out);

/* ---- script_emit.c: a network -> stand-alone files --------------------------------------------------------------- */

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

#endif
