/* convgen.h: the whole public interface.
 *
 * Fill a problem (or parse one), open a context, create a plan, run it as often
 * as you like. Functions return a status; 0 is CONVGEN_OK; convgen_error() gives
 * the sentence. Nothing here prints, exits, sets a signal handler, or starts a
 * thread before the first run. Contexts and plans may be shared by threads.
 *
 *   forward           dst[n,o,c]          = bias[c] + sum over k,i of src[n, o*s + k*d - p, i] * weights[k,i,c]
 *   backward data     diff_src[n,x,i]     = sum over o,k with o*s + k*d - p = x, and over c, of diff_dst[n,o,c] * weights[k,i,c]
 *   backward weights  diff_weights[k,i,c] = sum over n,o of src[n, o*s + k*d - p, i] * diff_dst[n,o,c]
 *                     diff_bias[c]        = sum over n,o of diff_dst[n,o,c]
 *
 * A transposed convolution (op) writes what a convolution reads: dst[n, i*s + k*d - p, c] += src[n,i,b] * weights[k,c,b]. Its passes are
 * those of the convolution whose src is its dst: forward is that one's backward data, and so on; src, dst, in, out, channels, bias and
 * epilogue are its own.
 */
#ifndef CONVGEN_H
#define CONVGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONVGEN_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CONVGEN_API __attribute__((visibility("default")))
#else
#define CONVGEN_API
#endif

typedef enum convgen_status {
    CONVGEN_OK,
    CONVGEN_BAD_ARGUMENT,   /* NULL, misaligned or overlapping pointers, an option out of range */
    CONVGEN_BAD_PROBLEM,    /* text that does not parse, or a problem that has no meaning */
    CONVGEN_UNSUPPORTED,    /* strides of channels-first data, an unknown or unavailable target */
    CONVGEN_NO_MEMORY,
    CONVGEN_NO_RECORD,      /* CONVGEN_RECALL and nothing trusted is remembered */
    CONVGEN_NO_CANDIDATE,   /* no schedule survived */
    CONVGEN_NO_EXEC,        /* the system refuses executable memory */
    CONVGEN_STORE,          /* the store cannot be read or written */
    CONVGEN_CANCELLED,      /* the progress callback said stop before anything was usable */
    CONVGEN_COMPILER,       /* the compiler failed or is missing */
    CONVGEN_INTERNAL
} convgen_status;

typedef struct convgen_context convgen_context;
typedef struct convgen_plan convgen_plan;

/* Zero is the default everywhere. */
typedef enum { CONVGEN_CONVOLUTION, CONVGEN_TRANSPOSED } convgen_op;
typedef enum { CONVGEN_FORWARD, CONVGEN_BACKWARD_DATA, CONVGEN_BACKWARD_WEIGHTS } convgen_pass;
typedef enum { CONVGEN_F32, CONVGEN_F64, CONVGEN_I64 = 64 /* tensors of networks alone */ } convgen_type;
typedef enum { CONVGEN_NHWC, CONVGEN_NCHW } convgen_layout;
typedef enum { CONVGEN_LOOP, CONVGEN_PROVEN, CONVGEN_2X, CONVGEN_8X } convgen_accuracy;
typedef enum { CONVGEN_WEIGHTS_CHANGING, CONVGEN_WEIGHTS_FIXED } convgen_weights; /* fixed: packed once, packing not in the time */
typedef enum { CONVGEN_RECALL, CONVGEN_ESTIMATE, CONVGEN_MEASURE, CONVGEN_EXHAUSTIVE } convgen_effort;
typedef enum {
    CONVGEN_NONE,
    CONVGEN_RELU,        /* max(0, x) */
    CONVGEN_CLAMP,       /* min(max(x, lo), hi) */
    CONVGEN_LEAKY,       /* max(x < 0 ? lo * x : x, hi): a slope and a floor; hi = -INFINITY is none, 0 a floor of 0 */
    CONVGEN_PRELU,       /* x < 0 ? slope * x : x with a slope for each output channel: convgen_tensors.slope */
    CONVGEN_SIGMOID,     /* 1 / (1 + exp(-x)) */
    CONVGEN_TANH,
    CONVGEN_HARDSIGMOID, /* min(max(lo * x + hi, 0), 1): alpha and beta */
    CONVGEN_HARDSWISH,   /* x * min(max(x + 3, 0), 6) / 6 */
    CONVGEN_SILU,        /* x / (1 + exp(-x)) */
    CONVGEN_GELU         /* x * (1 + erf(x / sqrt(2))) / 2 */
} convgen_activation;

/* After the bias of the forward pass: `residual` (a tensor shaped as dst) is added, then the activation is taken; or, with
 * residual_last, the activation first. lo and hi are of the activations that name them. Every activation keeps NaN, gives its limit
 * at an infinity (LEAKY, PRELU and HARDSIGMOID with a slope of 0 give NaN there), and is within 4 u max(|y|, 2^-20 |x|) of the exact
 * value, u = 2^-24 or 2^-53; TANH within 2 units in the last place. The bits are the same on every processor. */
typedef struct convgen_epilogue {
    bool residual, residual_last;
    convgen_activation activation;
    double lo, hi;
} convgen_epilogue;

/* A problem. Zero-initialise, then fill; or convgen_problem_parse.
 * Channels-last tensors: src [batch, d, h, w, in_channels], dst [batch, od, oh, ow, out_channels],
 * weights [kd, kh, kw, in_channels/groups, out_channels]. Channels-first: src [batch, in_channels, d, h, w],
 * dst [batch, out_channels, od, oh, ow], weights [out_channels, in_channels/groups, kd, kh, kw]. bias [out_channels].
 * Weights of a transposed convolution: channels-last [kd, kh, kw, out_channels/groups, in_channels], channels-first
 * [in_channels, out_channels/groups, kd, kh, kw], as TensorFlow and PyTorch have them.
 * Dense, but that src and dst of channels-last data may each be a slice of the channels of a wider tensor: then src_pixel_stride or
 * dst_pixel_stride says how many elements are from one pixel's first channel to the next one's, in memory order over batch, d, h, w. What lies
 * between the channels of two pixels is neither read into results nor written, and behind the last pixel's channels nothing is touched. The
 * gradient of a tensor has its stride, and so has the residual dst's. */
typedef struct convgen_problem {
    convgen_pass pass;
    convgen_type type;
    convgen_layout layout;
    convgen_accuracy accuracy;
    convgen_weights weights;
    int64_t batch, groups, in_channels, out_channels;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3]; /* d, h, w. 0 means 1 (batch, groups, in, kernel, stride,
                                                                        dilation) or computed with `pad` on both sides (out);
                                                                        dilation 1 = dense; pad is the leading one, may be negative.
                                                                        TRANSPOSED: out is at most what the last tap reaches and an
                                                                        output padding below the larger of stride and dilation */
    bool bias;                                                        /* forward and backward weights only */
    convgen_epilogue epilogue;                                        /* forward only */
    int64_t src_pixel_stride, dst_pixel_stride; /* elements; 0: dense, else at least the channels; channels-first must have 0 */
    bool accumulate;                            /* of a gradient, and of the bias' beside it: what the tensor has is added last, after all sums */
    convgen_op op;
} convgen_problem;

/* Parses one problem in benchdnn's notation with options before it, e.g. "--dir=BWD_D --dt=f64 mb10ic3ih100oc10kh5ph2".
 * Text is borrowed. On failure *out is untouched. */
CONVGEN_API convgen_status convgen_problem_parse(const char *text, convgen_problem *out);

/* Writes the canonical spelling; parse(format(p)) = p. `size` bytes at `text`, at most 511 and the end mark are needed. */
CONVGEN_API convgen_status convgen_problem_format(const convgen_problem *problem, char *text, size_t size);

typedef struct convgen_options {
    size_t struct_size;  /* sizeof(convgen_options) */
    int threads;         /* at most 1024; 0 means 1. Idle OpenMP threads spin: where other work shares the cores, a run of two or more may wait
                            for whole time slices, unless OMP_WAIT_POLICY=passive is set when the program starts. Where threads cannot be made, a run
                            uses fewer, with the same bits */
    const char *target;  /* "avx512", "avx2", "portable"; NULL: $CONVGEN_TARGET, else the best of this machine */
    const char *store;   /* a file; NULL: $CONVGEN_STORE, else $XDG_CACHE_HOME/convgen/records, else $HOME/.cache/convgen/records;
                            where none of these is set nothing is remembered. The umask says who may read it */
    /* Runs body(task, first, last, thread) over [0, tasks) split among `threads`, thread < threads; NULL: OpenMP. */
    void (*parallel_for)(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread),
                         void *task);
    bool (*progress)(void *user, double done, const char *line); /* done in [0, 1]; false cancels: best so far is kept */
    void *user;
} convgen_options;

/* Opens a context; options NULL means all defaults, and are copied (target and store too). Free with convgen_close. */
CONVGEN_API convgen_status convgen_open(const convgen_options *options_or_null, convgen_context **out);
/* Gives the caller's hold up. Plans keep what they need of the context alive. NULL is allowed. */
CONVGEN_API void convgen_close(convgen_context *context);

/* Finds a kernel for the problem. RECALL fails with CONVGEN_NO_RECORD without a trusted record; ESTIMATE never times, and without a
 * record takes the same arithmetic (transform and order of sums) for any options.threads: such plans give the same bits. It checks some
 * outputs of some tasks; where a task is large, or a problem has more than 64 MB of operands, on a smaller one, so that the time and the memory
 * of the whole are not needed;
 * MEASURE tries the best estimates within `seconds` (0: no limit) and remembers the winner; EXHAUSTIVE tries every schedule.
 * The first kernel that is usable is waited for; after it `seconds` end whatever goes on, and the best so far is remembered:
 * convgen_info.complete is false, and later calls with a limit recall it; one without a limit, and `convgen tune`, go on where the search
 * stopped. Where a problem has more than 2^28 multiply-adds and not one kernel was verified in time, the first by estimate that is right on a sample is taken, as by ESTIMATE, and
 * not remembered. A single run of a kernel cannot be stopped in this process: one that is seen to take longer than is left is not begun.
 * Free with convgen_plan_free. */
CONVGEN_API convgen_status convgen_plan_create(convgen_context *context, const convgen_problem *problem, convgen_effort effort,
                                               double seconds, convgen_plan **out);
CONVGEN_API void convgen_plan_free(convgen_plan *plan);

/* Bytes that convgen_tensors.workspace and .packed need, for 64-byte aligned memory. */
CONVGEN_API size_t convgen_plan_workspace(const convgen_plan *plan);
CONVGEN_API size_t convgen_plan_packed(const convgen_plan *plan);

/* Packs weights (unchanged) into `packed` (convgen_plan_packed bytes, 64-byte aligned) for later runs. */
CONVGEN_API convgen_status convgen_pack(const convgen_plan *plan, const void *weights, void *packed);

/* One tensor a slot; a gradient stands in its tensor's slot (backward data writes src, backward weights writes weights and
 * bias). Alignment: of the element. `packed` replaces weights; weights without packed are packed in the run. workspace NULL:
 * the plan keeps its own. residual == dst exactly is allowed, any other overlap with an output is refused. */
typedef struct convgen_tensors {
    void *src, *weights, *bias, *dst, *residual, *packed, *workspace;
    void *slope; /* [out_channels]; read only when the activation is CONVGEN_PRELU */
} convgen_tensors;

/* Runs the plan. Thread-safe when workspaces differ or are NULL. A plan gives the same bits however its tasks are shared among
 * threads. Plans of one problem for other numbers of threads give them too under CONVGEN_PROVEN, and where ESTIMATE made both; what was
 * timed for one number (MEASURE, a record) may be another arithmetic than for another. */
CONVGEN_API convgen_status convgen_run(const convgen_plan *plan, const convgen_tensors *tensors);

typedef struct convgen_info {
    const char *problem, *family, *schedule, *form, *compiler, *target; /* owned by the plan */
    int threads;
    double ns_min, ns_median;                            /* 0 when never timed */
    double error_normwise, error_vs_loop, error_vs_bound; /* NaN when not known */
    bool recalled;           /* times and errors are what the record says, not measured for this plan */
    int candidates, refused; /* 0 on recall */
    double seconds;
    const char *warning;     /* why the store could not be read, or the plan not be remembered in it; "" otherwise */
    bool complete; /* the search was not cut short by its time or by progress */
} convgen_info;
CONVGEN_API const convgen_info *convgen_plan_info(const convgen_plan *plan);

/* Errors of one way to compute, against the exact result, over all outputs looked at. */
typedef struct convgen_figures {
    double ulp_max, ulp_mean; /* |error| in units in the last place of the exact result rounded to the type */
    double normwise;          /* ||error||_2 / ||exact||_2 */
    double of_bound;          /* max of |error| / (gamma_K * sum |a||b|), K terms; NaN for transforming families (Higham, 3.5) */
} convgen_figures;

/* Data that errors are measured on: uniform [-1, 1], the normative set; normal; normal with max(0, x) of the activations; uniform
 * [0, 1]; uniform with the middle channel of the activations (of every group) 10^4 times the rest. */
typedef enum {
    CONVGEN_UNIFORM,
    CONVGEN_NORMAL,
    CONVGEN_RECTIFIED,
    CONVGEN_POSITIVE,
    CONVGEN_BADLY_SCALED,
    CONVGEN_DATA_KINDS
} convgen_data;

/* loop: one accumulator, separate multiply and add. course: the products of a window summed pairwise, as np.sum does.
 * vs_loop: the plan's normwise error over loop's, on each kind of data, from at least 4,096 outputs of uniform and 1,024 of the
 * others, pooled over several runs where the problem has fewer; NaN when that was too long to measure. budget: what the accuracy
 * allows a transforming family on uniform data, and twice that on the others; NaN for a summing one, which has a bound. */
typedef struct convgen_errors {
    size_t struct_size;     /* sizeof(convgen_errors), set by the caller: no more than that is written */
    int64_t outputs, terms; /* outputs looked at; the most terms of one */
    convgen_figures plan, loop, course;
    bool has_bias_gradient;
    int64_t bias_outputs, bias_terms;
    convgen_figures bias_plan, bias_loop, bias_course; /* diff_bias of backward weights */
    double budget, vs_loop[CONVGEN_DATA_KINDS];
} convgen_errors;

/* Runs the plan once on uniform [-1, 1] data of a fixed seed and measures it against the exact result. Set out->struct_size before:
 * convgen_errors errors = { .struct_size = sizeof errors }. */
CONVGEN_API convgen_status convgen_certificate(const convgen_plan *plan, convgen_errors *out);

/* One line: schedule, time, error. Owned by the plan. */
CONVGEN_API const char *convgen_plan_describe(const convgen_plan *plan);

/* A whole network, from its file (docs/network-file.md). */
typedef struct convgen_network convgen_network;
typedef struct convgen_network_options {
    size_t struct_size; /* sizeof(convgen_network_options) */
    convgen_effort effort;
    double seconds; /* of MEASURE: for each distinct convolution, as of convgen_plan_create */
    convgen_accuracy accuracy; /* of every convolution */
} convgen_network_options;
/* An input or an output: a dense tensor in the order of the file, dims[0] outermost. rank 0 is a scalar. */
typedef struct convgen_port {
    const char *name;
    convgen_type type; /* elements of 4 bytes (F32) or 8 (F64, I64) */
    int rank;
    int64_t dims[8];
} convgen_port;

/* Reads the network and its weights, which lie beside it, and makes it ready to run: weights are prepared and packed here. Options NULL:
 * ESTIMATE, LOOP. ESTIMATE takes a record where there is one; RECALL fails with CONVGEN_NO_RECORD, naming the first operation without one;
 * threads, target and store are the context's, which the network keeps alive. A file that is not right is CONVGEN_BAD_PROBLEM, with its
 * name, the line, and what is allowed; one that cannot be read CONVGEN_STORE. Free with convgen_network_free. */
CONVGEN_API convgen_status convgen_network_open(convgen_context *context, const char *path, const convgen_network_options *options_or_null,
                                                convgen_network **out);
/* The i-th, from 0, in the order of the file; NULL past the end. Owned by the network. */
CONVGEN_API const convgen_port *convgen_network_input(const convgen_network *network, int i);
CONVGEN_API const convgen_port *convgen_network_output(const convgen_network *network, int i);
/* Bytes that a run's workspace needs, for 64-byte aligned memory; may be 0. */
CONVGEN_API size_t convgen_network_workspace(const convgen_network *network);
/* Runs it: as many pointers as there are inputs and outputs. Alignment: of the element. An output must not overlap anything else. Thread-safe
 * when workspaces differ or are NULL; allocates nothing when one is given, once every thread has run; NULL: one is made for the run. With
 * CONVGEN_PROVEN the bits are the same for any number of threads and on every processor. */
CONVGEN_API convgen_status convgen_network_run(const convgen_network *network, const void *const *inputs, void *const *outputs,
                                               void *workspace);
CONVGEN_API void convgen_network_free(convgen_network *network);

CONVGEN_API const char *convgen_status_text(convgen_status status);
/* This thread's last error, a sentence; "" when there was none. The context may be NULL. */
CONVGEN_API const char *convgen_error(const convgen_context *context_or_null);

#ifdef __cplusplus
}
#endif
#endif
