/* network.h: a network's file -> what runs it. Stands on plans. */
#ifndef CONVGEN_NETWORK_H
#define CONVGEN_NETWORK_H

#include "plan.h"
#include "network/reference.h"

/* ---- weights.c: the file of weights ------------------------------------------------------------------------------ */

uint32_t cg_crc32(const void *data, size_t size); /* zlib's */
/* The whole file beside the network's, of exactly so many bytes and with that hash ("": not compared). cg_free(*out). */
cg_status cg_weights_read(const char *network, const cg_network_plan *plan, void **out);

/* ---- prepare.c: weights as a convolution wants them -------------------------------------------------------------- */

/* Where what is made of a convolution's weights goes, in the problem's type: [taps.., a, b] as channels-last problems have them, with what
 * is folded into them, computed in double and rounded once; [out_channels] of the others, NULL where the problem has none. */
typedef struct cg_prepared {
    void *weights, *bias, *slope;
} cg_prepared;
cg_status cg_prepare_weights(const convgen_problem *p, const cg_prepare *how, const void *file, const cg_parallel *par, const cg_prepared *to);

/* ---- network.c: opened, run -------------------------------------------------------------------------------------- */

/* One operation as it runs. */
typedef struct cg_runs {
    const cg_kernel *kernel;
    cg_parallel parallel;
    convgen_plan *plan;      /* of a convolution; may be that of others too */
    convgen_problem problem; /* of a convolution, normalised */
    cg_kernel own;           /* of any other, or that of an operation before it that is the same */
    uint64_t hash;           /* of what makes its kernel */
    void *packed;            /* NULL: the kernel packs nothing */
    cg_prepared prepared;    /* in the network's memory */
    void *fixed[CG_SLOTS];   /* operands that no run changes; NULL: it is in an input, an output or the arena */
    char stored[CG_SLOTS][4]; /* types of operands in the weights file */
} cg_runs;
struct convgen_network {
    convgen_context *context;
    cg_network_plan plan;
    convgen_port *inputs, *outputs;
    cg_runs *runs; /* one for each of the plan's operations */
    int distinct;  /* convolutions */
    char *memory;  /* packed weights, biases, slopes, constants */
    size_t memory_bytes;
};
typedef struct cg_network_how {
    convgen_effort effort;
    double seconds;
    convgen_accuracy accuracy;
    bool doubled; /* all that is f32 is f64, weights in the file but for it: to compare with */
    void (*next)(void *user, int operation, const cg_planned *o); /* NULL, or told before each distinct kernel is made */
    void *user;
} cg_network_how;
cg_status cg_network_open(convgen_context *c, const char *path, const cg_network_how *how, convgen_network **out);
/* What is to be done, without a kernel of it, and so without workspaces in the arena. */
cg_status cg_network_plan_of(convgen_context *c, const char *path, cg_network_plan *out);
cg_status cg_network_read(const char *path, cg_buffer *text); /* the file, of a size that is allowed */
/* What a run works on. */
typedef struct cg_network_memory {
    const void *const *inputs;
    void *const *outputs;
    char *arena;
} cg_network_memory;
void cg_network_operands(const convgen_network *n, int operation, const cg_network_memory *m, void *at[CG_SLOTS]);
void cg_network_run_one(const convgen_network *n, int operation, const cg_network_memory *m);
int64_t cg_port_bytes(const convgen_port *p);
convgen_type cg_type_named(const char *name); /* "i64" is CONVGEN_I64, which has no row in cg_types */
size_t cg_type_bytes(convgen_type type);

/* ---- check.c: how right its operations are ----------------------------------------------------------------------- */

typedef struct cg_checked {
    bool wrong;
    char why[CG_WHY];
    double normwise, vs_loop, of_bound; /* of f64 loops on the same operands; of the plain loop's, of the a-priori bound: NaN where there is none */
} cg_checked;
/* Runs one operation, and compares. file: the weights'. */
cg_status cg_network_check_one(const convgen_network *n, int operation, const void *file, const cg_network_memory *m, cg_checked *out);
/* All of it in plain loops of the network's types, where cg_network_run has kernels. */
cg_status cg_network_run_plainly(const convgen_network *n, const void *file, const cg_network_memory *m);
/* ||a - b|| / ||b|| of an output; b is of a network in f64 where a's is f32. */
double cg_network_distance(const convgen_port *a_port, const void *a, const convgen_port *b_port, const void *b);

#endif
