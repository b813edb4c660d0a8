/* problem.h: what is asked for: a problem, its text, its sizes, its tensors. */
#ifndef CONVGEN_PROBLEM_H
#define CONVGEN_PROBLEM_H

#include "base/base.h"
#include "facts.h"

/* ---- types.c: what elements are ---------------------------------------------------------------------------------- */

enum { CG_TYPES = CG_TYPE_COUNT };
typedef struct cg_type_row {
    const char *name;
    size_t bytes;
    int digits, lowest;    /* of the significand: the unit roundoff is 2^-digits; exponent of the smallest normal number, as frexp has it */
    double exact, careful; /* of integer data, so that all is exact: what no sum may exceed, and where it is transformed on the way */
    double largest;        /* and no element */
    struct {
        size_t at;      /* of the word with the exponent, in bytes */
        uint32_t quiet; /* its bit that arithmetic sets in a NaN */
    } nan;
    void (*read)(const void *data, int64_t first, int64_t n, double *values);
    void (*write)(void *data, int64_t first, int64_t n, const double *values); /* rounded to nearest */
} cg_type_row;
extern const cg_type_row cg_types[CG_TYPES]; /* by convgen_type */
convgen_type cg_computed(convgen_type type); /* what its programs, and the reference, compute in */

static inline double cg_get(convgen_type type, const void *data, int64_t i)
{
    double value;
    cg_types[type].read(data, i, 1, &value);
    return value;
}

static inline void cg_put(convgen_type type, void *data, int64_t i, double value) { cg_types[type].write(data, i, 1, &value); }

static inline double cg_rounded(convgen_type type, double value)
{
    double room;
    cg_put(type, &room, 0, value);
    return cg_get(type, &room, 0);
}

/* ---- problem.c: legality, sizes ---------------------------------------------------------------------------------- */

enum { CG_MOST_THREADS = 1024 }; /* of one convolution */
#define CG_MOST ((int64_t)INT32_MAX) /* of any dimension: so out * stride + kernel * dilation + pad stays within int64 */
/* Fills defaults in place (0 -> 1, out computed) and checks; after it every size is >= 1 and no product of a tensor's sizes
 * times 16 overflows int64. Says what is wrong, naming the dimension and what is allowed. */
cg_status cg_problem_normalise(convgen_problem *p);

/* After normalise. Element counts; index arithmetic is int64. */
typedef struct cg_sizes {
    int64_t src, weights, bias, dst; /* elements of each tensor without what lies between pixels, bias = out_channels */
    size_t element;                  /* bytes of one */
    double macs;                     /* multiply-adds with padded taps counted, as the field counts */
} cg_sizes;
cg_sizes cg_problem_sizes(const convgen_problem *p);
bool cg_problem_equal(const convgen_problem *a, const convgen_problem *b);

/* The convolution that has the same products: the problem itself, or, where it is transposed, the convolution whose src is its dst. What it
 * is for is index arithmetic: bias and epilogue stay as they are, though such a pass of a convolution has none. And the way back. */
convgen_problem cg_dual(const convgen_problem *p);
convgen_problem cg_dual_of(const convgen_problem *c, convgen_op op);

enum { CG_ACCURACIES = CG_ACCURACY_COUNT };

/* ---- tensors.c: which tensor is what in which pass --------------------------------------------------------------- */

enum { CG_SRC, CG_WEIGHTS, CG_BIAS, CG_DST, CG_RESIDUAL, CG_SLOPE, CG_TENSORS };
typedef struct cg_operands {
    union {
        struct {
            void *src, *weights, *bias, *dst, *residual, *slope;
        };
        void *at[CG_TENSORS];
    };
    const void *old[2]; /* for the references of a problem that accumulates: what was in the output, and in the bias' gradient */
} cg_operands;
typedef enum { CG_ABSENT, CG_INPUT, CG_RESULT } cg_role;
const char *cg_tensor_name(int tensor); /* "src" */
convgen_type cg_tensor_type(const convgen_problem *p, int tensor);
size_t cg_element(const convgen_problem *p, int tensor); /* bytes of one */
void cg_roles(const convgen_problem *p, cg_role role_of[CG_TENSORS]);
/* How a tensor's pixels stand: `count` runs of so many bytes, `apart` from one to the next. A dense tensor is one run, and apart 0. */
typedef struct cg_pixels {
    int64_t count;
    size_t bytes, apart;
} cg_pixels;
cg_pixels cg_tensor_pixels(const convgen_problem *p, int tensor);
void cg_tensor_bytes(const convgen_problem *p, size_t bytes[CG_TENSORS]); /* from the first to the last: of slices, with what lies between */
convgen_problem cg_problem_dense(const convgen_problem *p); /* the same of tensors that are no slices */
int cg_output_count(const convgen_problem *p);             /* 2 where the bias has a gradient */
int cg_output_tensor(const convgen_problem *p, bool bias); /* the pass's, or the bias gradient */
convgen_type cg_output_type(const convgen_problem *p, bool bias);
int cg_data_tensor(const convgen_problem *p);              /* the input that is no weights; of backward weights the one that taps move over */
int cg_dual_tensor(const convgen_problem *p, int tensor);  /* what a tensor of its dual is of the problem's, and the other way round */

/* ---- activation.c: what is done with a sum before it is stored --------------------------------------------------- */

enum { CG_ACTIVATIONS = CG_ACTIVATION_COUNT, CG_EPILOGUE = 128 /* the words of an epilogue */ };
const char *cg_activation_word(convgen_activation a); /* "clamp": the generator's name of it */
/* "residual+clamp:0:6": words in the order of what is done; "" is written for none. false: that is no epilogue, and *e has none. */
bool cg_epilogue_read(const char *text, convgen_epilogue *e);
void cg_epilogue_write(const convgen_epilogue *e, char text[CG_EPILOGUE]);
cg_status cg_epilogue_check(convgen_epilogue *e); /* completes it as well; the activation is one of the enumeration */
bool cg_epilogue_same(const convgen_epilogue *a, const convgen_epilogue *b);
/* The activation of n values in place, with a kernel's bits. slope: one for each value, read for PRELU only. */
void cg_activate(const convgen_epilogue *e, convgen_type type, const void *slope, int64_t n, void *y);
/* Its exact value, with parameters as the type has them; the most that it enlarges a difference by; whether kernels round it. */
long double cg_activation_exact(const convgen_epilogue *e, convgen_type type, double slope, long double x);
double cg_activation_steepest(const convgen_epilogue *e, double slope);
bool cg_activation_rounds(convgen_activation a);

/* Functions as programs have them: of n values in place, with a kernel's bits; and exactly. */
typedef struct cg_math_row {
    const char *name;
    void (*of[CG_TYPES])(int64_t n, void *y);
    long double (*exact)(long double x);
} cg_math_row;
extern const cg_math_row cg_math[CG_FUNCTION_COUNT];

/* ---- notation.c: the text of a problem, read and written --------------------------------------------------------- */

/* The state of a list reader: options hold from their place on. */
typedef struct cg_options {
    convgen_problem base; /* op, pass, type, layout, accuracy, weights, bias, epilogue as the options say */
    int64_t mb;           /* --mb, 0: as the problem says */
    int threads;          /* --threads, 0: not given */
    char target[16];      /* --target, "": not given */
} cg_options;
void cg_options_default(cg_options *o); /* FWD_B, f32, nhwc, loop, changing, as benchdnn */
/* One word: "--key=value" of a problem option. CONVGEN_OK taken; CONVGEN_UNSUPPORTED not a problem option (no error set);
 * CONVGEN_BAD_PROBLEM a bad value. --reset restores `initial`. */
cg_status cg_option_take(cg_options *o, const cg_options *initial, const char *word);
cg_status cg_option_unknown(const char *word); /* says which there are */
typedef struct cg_option_text {
    const char *key, *value; /* "--mb", "N"; value NULL: it has none */
    const char *help;        /* a line */
    const char *choices;     /* its values with blanks between; NULL: they cannot be listed */
} cg_option_text;
const cg_option_text *cg_option_at(int n); /* NULL: there are fewer */

typedef struct cg_named_problem {
    convgen_problem problem; /* normalised */
    char name[CG_NAME];      /* n"..." or "" */
    int threads;
    char target[16];
    long multiplicity; /* how often a network has this layer: a trailing "*N" of a list line (ours), else 1 */
} cg_named_problem;
/* The descriptor alone; the options stood before it. */
cg_status cg_problem_parse(const char *word, const cg_options *o, cg_named_problem *out);
const char *cg_op_name(convgen_op o);                 /* "conv", "deconv": the op */
const char *cg_pass_name(const convgen_problem *p);   /* "FWD_D", "FWD_B", "BWD_D", "BWD_W", "BWD_WB": the dir */
const char *cg_type_name(convgen_type t);             /* "f32" */
const char *cg_tag_name(convgen_layout l);            /* "nhwc" */
const char *cg_accuracy_name(convgen_accuracy a);     /* "loop" */
const char *cg_weights_name(convgen_weights w);       /* "changing" */

/* ---- list.c: a text -> its words, one problem or many ------------------------------------------------------------ */

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

#endif
