/* Networks: what a file says is what a run gives, for any number of threads and any caller's; bad files, other weights and failing memory are
 * sentences. Files are in a folder of the test's own. */
#include "network/network.h"
#include "suite.h"
#include <math.h>
#include <pthread.h>
#include <sys/stat.h>

enum { LARGEST = 1 << 14, MANY = 8 };
static char store[64], folder[64];
static convgen_context *context;

/* ---- a network's files ---- */

typedef struct tensor {
    const char *name, *dims;
    int count;
    float at[4096];
} tensor;

static tensor w1 = {.name = "w1", .dims = "8x3x3x3", .count = 216}, b1 = {.name = "b1", .dims = "8", .count = 8};
static tensor scale = {.name = "scale", .dims = "8", .count = 8}, shift = {.name = "shift", .dims = "8", .count = 8};
static tensor mean = {.name = "mean", .dims = "8", .count = 8}, variance = {.name = "variance", .dims = "8", .count = 8};
static tensor w2 = {.name = "w2", .dims = "8x4x1x1", .count = 32}, w3 = {.name = "w3", .dims = "8x3x2x2", .count = 96};
static tensor factor = {.name = "factor", .dims = "1x6x1x1", .count = 6}, table = {.name = "table", .dims = "31", .count = 31};
static tensor *const tensors[] = {&w1, &b1, &scale, &shift, &mean, &variance, &w2, &w3, &factor, &table};
enum { TENSORS = sizeof tensors / sizeof *tensors, HIGH = 20, WIDE = 31, PIXELS = HIGH * WIDE };

/* A convolution with a normalisation behind it, a grouped one with a sum, a transposed grouped one with factors, and what is none. */
static const char operations[] =
    "input x f32 1x3x20x31\n"
    "c1 = conv(x, w1, b1) ic3ih20iw31oc8oh20ow31kh3kw3ph1pw1\n"
    "n1 = batchnorm(c1, scale, shift, mean, variance) epsilon 1e-3\n"
    "r1 = activate(n1) relu\n"
    "c2 = conv(r1, w2) g2ic8ih20iw31oc8oh20ow31kh1kw1\n"
    "s2 = add(c2, r1)\n"
    "d3 = deconv(s2, w3) g2ic8ih20iw31oc6oh40ow62kh2kw2sh2sw2\n"
    "y = mul(d3, factor)\n"
    "t = transpose(r1) 0,2,3,1\n"
    "z = mul(t, 0.5)\n"
    "u = mul(s2, table)\n"
    "output y\noutput z\noutput u\n";
enum { Y = 6 * 4 * PIXELS, Z = 8 * PIXELS, U = 8 * PIXELS };

static float x[3 * PIXELS];
static double expected_y[Y], expected_z[Z], expected_u[U];

static void write_text(const char *name, const void *text, size_t length)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, length, file), length);
    fclose(file);
}

static cg_buffer text, weights;

static void draw(void)
{
    uint64_t state = 1;
    cg_buffer_free(&text);
    cg_buffer_free(&weights);
    for (int i = 0; i < TENSORS; i++)
        for (int k = 0; k < tensors[i]->count; k++) tensors[i]->at[k] = (float)(tensors[i] == &variance ? 1.5 + cg_uniform(&state) : cg_uniform(&state));
    for (int i = 0; i < 3 * PIXELS; i++) x[i] = (float)cg_uniform(&state);
    for (int i = 0; i < TENSORS; i++) cg_buffer_add(&weights, (const char *)tensors[i]->at, (size_t)tensors[i]->count * sizeof(float));
    cg_buffer_printf(&text, "weights n.weights bytes %zu hash %08x\n", weights.length, cg_crc32(weights.text, weights.length));
    size_t at = 0;
    for (int i = 0; i < TENSORS; at += (size_t)tensors[i++]->count * sizeof(float))
        cg_buffer_printf(&text, "tensor %s f32 %s @%zu\n", tensors[i]->name, tensors[i]->dims, at);
    cg_buffer_printf(&text, "%s", operations);
}

static const char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* ---- what it means, in plain loops ---- */

static double at_or_0(const double *image, int c, int h, int w) { return h < 0 || w < 0 || h >= HIGH || w >= WIDE ? 0 : image[c * PIXELS + h * WIDE + w]; }

static void expect(void)
{
    static double image[3 * PIXELS], r1[8 * PIXELS], s2[8 * PIXELS];
    for (int i = 0; i < 3 * PIXELS; i++) image[i] = x[i];
    for (int o = 0; o < 8; o++)
        for (int p = 0; p < PIXELS; p++) {
            double sum = b1.at[o];
            for (int i = 0; i < 27; i++) sum += at_or_0(image, i / 9, p / WIDE + i / 3 % 3 - 1, p % WIDE + i % 3 - 1) * w1.at[o * 27 + i];
            sum = (sum - mean.at[o]) / sqrt(variance.at[o] + 1e-3) * scale.at[o] + shift.at[o];
            r1[o * PIXELS + p] = sum > 0 ? sum : 0;
        }
    for (int o = 0; o < 8; o++)
        for (int p = 0; p < PIXELS; p++) {
            double sum = r1[o * PIXELS + p];
            for (int i = 0; i < 4; i++) sum += r1[(o / 4 * 4 + i) * PIXELS + p] * w2.at[o * 4 + i];
            s2[o * PIXELS + p] = sum;
            expected_z[p * 8 + o] = r1[o * PIXELS + p] / 2;
            expected_u[o * PIXELS + p] = sum * table.at[p % WIDE];
        }
    for (int o = 0; o < 6; o++)
        for (int h = 0; h < 2 * HIGH; h++)
            for (int w = 0; w < 2 * WIDE; w++) {
                double sum = 0;
                for (int i = 0; i < 4; i++)
                    sum += s2[(o / 3 * 4 + i) * PIXELS + h / 2 * WIDE + w / 2] * w3.at[(o / 3 * 4 + i) * 12 + o % 3 * 4 + h % 2 * 2 + w % 2];
                expected_y[o * 4 * PIXELS + h * 2 * WIDE + w] = sum * factor.at[o];
            }
}

static void begin(void)
{
    store_begin(store);
    strcpy(folder, "/tmp/convgen-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(convgen_open(&(convgen_options){.struct_size = sizeof(convgen_options), .store = store}, &context), CONVGEN_OK);
    draw();
    write_text("n.net", text.text, text.length);
    write_text("n.weights", weights.text, weights.length);
    expect();
}

static void end(void)
{
    char command[100];
    convgen_close(context);
    store_end(store);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- runs ---- */

typedef struct result {
    float y[Y], z[Z], u[U];
} result;

static cg_status run_in(const convgen_network *n, void *workspace, result *r)
{
    return convgen_network_run(n, (const void *[]){x}, (void *[]){r->y, r->z, r->u}, workspace);
}

static convgen_network *opened(convgen_context *c, convgen_accuracy accuracy)
{
    convgen_network *n;
    convgen_network_options o = {.struct_size = sizeof o, .effort = CONVGEN_ESTIMATE, .accuracy = accuracy};
    ck_assert_msg(convgen_network_open(c, path_of("n.net"), &o, &n) == CONVGEN_OK, "%s", convgen_error(c));
    return n;
}

static void close_to(const float *got, const double *wanted, int count, const char *name)
{
    double largest = 0, error = 0;
    for (int i = 0; i < count; i++) largest = fmax(largest, fabs(wanted[i])), error = fmax(error, fabs(got[i] - wanted[i]));
    ck_assert_msg(error <= 2e-6 * largest, "%s: %g of %g", name, error, largest);
}

static void is_right(const result *r)
{
    close_to(r->y, expected_y, Y, "y");
    close_to(r->z, expected_z, Z, "z");
    close_to(r->u, expected_u, U, "u");
}

START_TEST(a_run_gives_what_the_file_says)
{
    result r;
    convgen_network *n = opened(context, CONVGEN_LOOP);
    ck_assert_int_eq(run_in(n, NULL, &r), CONVGEN_OK);
    is_right(&r);
    void *workspace = cg_aligned(convgen_network_workspace(n));
    memset(workspace, 0xFF, convgen_network_workspace(n)); /* NaNs: nothing is read before it is written */
    memset(&r, 0, sizeof r);
    ck_assert_int_eq(run_in(n, workspace, &r), CONVGEN_OK);
    is_right(&r);
    cg_free(workspace);
    convgen_network_free(n);
}
END_TEST

START_TEST(options_may_be_missing)
{
    convgen_network *n;
    result r;
    ck_assert_msg(convgen_network_open(context, path_of("n.net"), NULL, &n) == CONVGEN_OK, "%s", convgen_error(NULL));
    convgen_close(context); /* the network keeps it */
    context = NULL;
    ck_assert_int_eq(run_in(n, NULL, &r), CONVGEN_OK);
    is_right(&r);
    convgen_network_free(n);
    convgen_network_free(NULL);
}
END_TEST

START_TEST(ports)
{
    convgen_network *n = opened(context, CONVGEN_LOOP);
    const convgen_port *p = convgen_network_input(n, 0);
    ck_assert_str_eq(p->name, "x");
    ck_assert(p->type == CONVGEN_F32 && p->rank == 4 && p->dims[0] == 1 && p->dims[1] == 3 && p->dims[2] == HIGH && p->dims[3] == WIDE);
    ck_assert_ptr_null(convgen_network_input(n, 1));
    ck_assert_ptr_null(convgen_network_input(n, -1));
    ck_assert_str_eq(convgen_network_output(n, 1)->name, "z");
    ck_assert(convgen_network_output(n, 1)->dims[3] == 8);
    ck_assert_ptr_null(convgen_network_output(n, 3));
    convgen_network_free(n);
}
END_TEST

/* ---- threads ---- */

static int regions;
static void backwards(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread), void *task)
{
    (void)user;
    regions++;
    for (int i = threads - 1; i >= 0; i--) body(task, tasks * i / threads, tasks * (i + 1) / threads, i);
}

static void same_with(convgen_options o, const result *first)
{
    convgen_context *c;
    result r;
    o.struct_size = sizeof o, o.store = store;
    ck_assert_int_eq(convgen_open(&o, &c), CONVGEN_OK);
    convgen_network *n = opened(c, CONVGEN_PROVEN);
    ck_assert_int_eq(run_in(n, NULL, &r), CONVGEN_OK);
    ck_assert_msg(!memcmp(&r, first, sizeof r), "%d threads give other bits", o.threads);
    convgen_network_free(n);
    convgen_close(c);
}

START_TEST(threads_change_no_bit)
{
    result first;
    convgen_network *n = opened(context, CONVGEN_PROVEN);
    ck_assert_int_eq(run_in(n, NULL, &first), CONVGEN_OK);
    convgen_network_free(n);
    for (int threads = 2; threads < 5; threads++) same_with((convgen_options){.threads = threads}, &first);
    regions = 0;
    same_with((convgen_options){.threads = 3, .parallel_for = backwards}, &first);
    ck_assert_int_gt(regions, 0);
}
END_TEST

typedef struct runner {
    const convgen_network *n;
    const result *first;
    bool same, keeps;
} runner;

static void *run_often(void *user)
{
    runner *me = user;
    result *r = cg_malloc(sizeof *r);
    void *workspace = me->keeps ? cg_aligned(convgen_network_workspace(me->n)) : NULL;
    me->same = true;
    for (int i = 0; i < 50; i++) {
        memset(r, 0, sizeof *r);
        me->same = me->same && !run_in(me->n, workspace, r) && !memcmp(r, me->first, sizeof *r);
    }
    cg_free(workspace);
    cg_free(r);
    return NULL;
}

/* _i threads share each run. */
START_TEST(many_run_it_at_once)
{
    convgen_context *c;
    pthread_t thread[MANY];
    runner me[MANY];
    result first;
    ck_assert_int_eq(convgen_open(&(convgen_options){.struct_size = sizeof(convgen_options), .threads = _i, .store = store}, &c), CONVGEN_OK);
    convgen_network *n = opened(c, CONVGEN_LOOP);
    ck_assert_int_eq(run_in(n, NULL, &first), CONVGEN_OK);
    for (int i = 0; i < MANY; i++) {
        me[i] = (runner){.n = n, .first = &first, .keeps = i % 2};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_often, &me[i]), 0);
    }
    for (int i = 0; i < MANY; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_msg(me[i].same, "thread %d got another result", i);
    }
    convgen_network_free(n);
    convgen_close(c);
}
END_TEST

/* ---- pointers ---- */

static void refused(cg_status status, cg_status wanted, const char *sentence)
{
    ck_assert_msg(status == wanted, "status %d: %s", status, convgen_error(NULL));
    ck_assert_msg(strstr(convgen_error(NULL), sentence), "\"%s\" is not in \"%s\"", sentence, convgen_error(NULL));
}

START_TEST(bad_pointers)
{
    convgen_network *n = opened(context, CONVGEN_LOOP);
    result r;
    char *workspace = cg_aligned(convgen_network_workspace(n) + sizeof r + 64);
    void *out[] = {r.y, r.z, r.u}, *same[] = {r.y, r.y + 1, r.u}, *none[] = {r.y, NULL, r.u}, *odd[] = {r.y, (char *)r.z + 1, r.u};
    void *in_workspace[] = {r.y, workspace + 64, r.u};
    const void *in[] = {x}, *on[] = {r.u};
    refused(convgen_network_run(NULL, in, out, NULL), CONVGEN_BAD_ARGUMENT, "network is NULL");
    refused(convgen_network_run(n, NULL, out, NULL), CONVGEN_BAD_ARGUMENT, "inputs is NULL");
    refused(convgen_network_run(n, in, NULL, NULL), CONVGEN_BAD_ARGUMENT, "outputs is NULL");
    refused(convgen_network_run(n, in, none, NULL), CONVGEN_BAD_ARGUMENT, "output z is NULL");
    refused(convgen_network_run(n, in, odd, NULL), CONVGEN_BAD_ARGUMENT, "output z is not aligned to 4 bytes");
    refused(convgen_network_run(n, in, same, NULL), CONVGEN_BAD_ARGUMENT, "output z overlaps output y");
    refused(convgen_network_run(n, on, out, NULL), CONVGEN_BAD_ARGUMENT, "output u overlaps input x");
    refused(convgen_network_run(n, in, out, workspace + 4), CONVGEN_BAD_ARGUMENT, "workspace is not aligned to 64 bytes");
    refused(convgen_network_run(n, in, in_workspace, workspace), CONVGEN_BAD_ARGUMENT, "output z overlaps the workspace");
    cg_free(workspace);
    convgen_network_free(n);
}
END_TEST

static cg_status open_with(convgen_network_options o)
{
    convgen_network *n = (void *)1;
    cg_status status = convgen_network_open(context, path_of("n.net"), &o, &n);
    ck_assert(!status == !!n);
    convgen_network_free(n);
    return status;
}

START_TEST(bad_options)
{
    const size_t size = sizeof(convgen_network_options);
    convgen_network *n;
    refused(open_with((convgen_network_options){0}), CONVGEN_BAD_ARGUMENT, "struct_size is 0");
    refused(open_with((convgen_network_options){size, 17, 0, 0}), CONVGEN_BAD_ARGUMENT, "options.effort is 17");
    refused(open_with((convgen_network_options){size, CONVGEN_MEASURE, -1, 0}), CONVGEN_BAD_ARGUMENT, "options.seconds is -1");
    refused(open_with((convgen_network_options){size, CONVGEN_ESTIMATE, 0, 9}), CONVGEN_BAD_ARGUMENT, "options.accuracy is 9");
    refused(convgen_network_open(context, NULL, NULL, &n), CONVGEN_BAD_ARGUMENT, "path is NULL");
    refused(convgen_network_open(NULL, "a", NULL, &n), CONVGEN_BAD_ARGUMENT, "context is NULL");
    refused(convgen_network_open(context, "a", NULL, NULL), CONVGEN_BAD_ARGUMENT, "out is NULL");
}
END_TEST

/* RECALL names the operation; what was measured is recalled; as a problem alone it is not. */
START_TEST(efforts)
{
    convgen_network_options o = {.struct_size = sizeof o};
    refused(open_with(o), CONVGEN_NO_RECORD, "r1: nothing is remembered for");
    o.effort = CONVGEN_MEASURE, o.seconds = 0.05;
    ck_assert_msg(open_with(o) == CONVGEN_OK, "%s", convgen_error(NULL));
    o.effort = CONVGEN_RECALL;
    ck_assert_msg(open_with(o) == CONVGEN_OK, "%s", convgen_error(NULL));
}
END_TEST

/* ---- memory ---- */

START_TEST(a_run_allocates_nothing)
{
    result r;
    convgen_network *n = opened(context, CONVGEN_LOOP);
    void *workspace = cg_aligned(convgen_network_workspace(n));
    cg_fail_allocation = 1, cg_fail_onwards = true;
    cg_status status = run_in(n, workspace, &r), without = run_in(n, NULL, &r);
    cg_fail_allocation = 0, cg_fail_onwards = false;
    ck_assert_int_eq(status, CONVGEN_OK);
    ck_assert_int_eq(without, CONVGEN_NO_MEMORY);
    cg_free(workspace);
    convgen_network_free(n);
}
END_TEST

/* Whichever allocation fails, it is that status and nothing is left; a random stride, since each try opens the network. */
START_TEST(every_allocation_may_fail)
{
    const char *given = getenv("CONVGEN_SEED");
    uint64_t state = given ? strtoull(given, NULL, 10) : 20261201;
    printf("seed %llu\n", (unsigned long long)state);
    bool failed = true;
    for (long i = 1; failed; i += 1 + (long)(cg_random(&state) % 60)) {
        convgen_network *n = NULL;
        cg_fail_allocation = i;
        cg_status status = convgen_network_open(context, path_of("n.net"), NULL, &n);
        failed = cg_fail_allocation <= 0;
        cg_fail_allocation = 0;
        ck_assert_msg(!status || status == CONVGEN_NO_MEMORY, "allocation %ld: status %d: %s", i, status, convgen_error(NULL));
        ck_assert(!status == !!n);
        convgen_network_free(n);
    }
}
END_TEST

/* ---- files ---- */

static cg_status open_text(const char *content)
{
    convgen_network *n = NULL;
    write_text("bad.net", content, strlen(content));
    cg_status status = convgen_network_open(context, path_of("bad.net"), NULL, &n);
    ck_assert(!status == !!n);
    convgen_network_free(n);
    return status;
}

/* The network's text with one piece in place of another. */
static cg_status open_changed(const char *from, const char *to)
{
    cg_buffer changed = {0};
    const char *at = strstr(text.text, from);
    ck_assert_ptr_nonnull(at);
    cg_buffer_add(&changed, text.text, (size_t)(at - text.text));
    cg_buffer_printf(&changed, "%s%s", to, at + strlen(from));
    cg_status status = open_text(changed.text);
    cg_buffer_free(&changed);
    return status;
}

static const struct {
    const char *from, *to, *sentence;
} changes[] = {
    {"relu", "rulu", "bad.net:15: 'rulu' is not an activation"},
    {"add(c2", "add(c9", "bad.net:17: c9 is not known here"},
    {"ic3ih20", "ic4ih20", "bad.net:13: "},
    {"8x3x3x3 @0", "8x3x3x3 @99999", "bad.net:2: "},
    {"8x3x3x3 @0", "9223372036854775807x9223372036854775807 @0", "bad.net:2: "},
    {"output z", "output q", "bad.net:"},
    {"weights n.weights", "weights ../n.weights", "bad.net:1: weights"},
    {"mul(t, 0.5)", "os.execute(t)", "bad.net:21: "},
};

START_TEST(bad_files)
{
    refused(open_changed(changes[_i].from, changes[_i].to), CONVGEN_BAD_PROBLEM, changes[_i].sentence);
}
END_TEST

START_TEST(files_that_are_none)
{
    convgen_network *n;
    refused(convgen_network_open(context, path_of("nowhere.net"), NULL, &n), CONVGEN_STORE, "cannot read");
    refused(convgen_network_open(context, folder, NULL, &n), CONVGEN_STORE, "cannot read");
    write_text("zero.net", "a\0b", 3);
    refused(convgen_network_open(context, path_of("zero.net"), NULL, &n), CONVGEN_BAD_PROBLEM, "it has a zero byte");
    refused(open_text(""), CONVGEN_BAD_PROBLEM, "no operation");
}
END_TEST

START_TEST(other_weights)
{
    convgen_network *n;
    cg_buffer changed = {0};
    cg_buffer_add(&changed, weights.text, weights.length);
    changed.text[17] ^= 1;
    write_text("n.weights", changed.text, changed.length);
    refused(convgen_network_open(context, path_of("n.net"), NULL, &n), CONVGEN_BAD_PROBLEM, "these are other weights");
    ck_assert_int_eq(open_changed(" hash ", " # "), CONVGEN_OK); /* a hash that is not told is not compared */
    write_text("n.weights", changed.text, changed.length - 4);
    refused(convgen_network_open(context, path_of("n.net"), NULL, &n), CONVGEN_BAD_PROBLEM, "n.weights has");
    ck_assert_int_eq(remove(path_of("n.weights")), 0);
    refused(convgen_network_open(context, path_of("n.net"), NULL, &n), CONVGEN_STORE, "cannot read");
    ck_assert_int_eq(mkdir(path_of("n.weights"), 0700), 0);
    refused(convgen_network_open(context, path_of("n.net"), NULL, &n), CONVGEN_STORE, "it is not a file");
    cg_buffer_free(&changed);
}
END_TEST

START_TEST(the_hash_is_zlibs)
{
    ck_assert_uint_eq(cg_crc32("", 0), 0);
    ck_assert_uint_eq(cg_crc32("123456789", 9), 0xCBF43926u);
    ck_assert_uint_eq(cg_crc32("The quick brown fox jumps over the lazy dog", 43), 0x414FA339u);
}
END_TEST

/* ---- check ---- */

static convgen_network *doubled(void)
{
    convgen_network *n;
    const cg_network_how how = {.effort = CONVGEN_ESTIMATE, .accuracy = CONVGEN_PROVEN, .doubled = true};
    ck_assert_msg(cg_network_open(context, path_of("n.net"), &how, &n) == CONVGEN_OK, "%s", convgen_error(NULL));
    return n;
}

START_TEST(in_f64_it_is_the_same_network)
{
    static double y[Y], z[Z], u[U], in[3 * PIXELS];
    convgen_network *n = doubled();
    ck_assert(convgen_network_input(n, 0)->type == CONVGEN_F64 && convgen_network_output(n, 2)->type == CONVGEN_F64);
    for (int i = 0; i < 3 * PIXELS; i++) in[i] = x[i];
    ck_assert_int_eq(convgen_network_run(n, (const void *[]){in}, (void *[]){y, z, u}, NULL), CONVGEN_OK);
    for (int i = 0; i < Y; i++) ck_assert_msg(fabs(y[i] - expected_y[i]) < 1e-13, "y[%d] is %g, expected %g", i, y[i], expected_y[i]);
    for (int i = 0; i < Z; i++) ck_assert(fabs(z[i] - expected_z[i]) < 1e-14);
    for (int i = 0; i < U; i++) ck_assert(fabs(u[i] - expected_u[i]) < 1e-13);
    convgen_network_free(n);
}
END_TEST

/* The number of operations that are right, from the first on; all of them are compared. */
static int count_right(const convgen_network *n, const cg_network_memory *m)
{
    int right = 0;
    for (int i = 0; i < n->plan.count; i++) {
        cg_checked c;
        ck_assert_msg(cg_network_check_one(n, i, weights.text, m, &c) == CONVGEN_OK, "%s", convgen_error(NULL));
        if (c.wrong) break;
        right++;
    }
    return right;
}

/* No operand of an operation is in its workspace, and some operation has one. */
START_TEST(workspaces_are_apart)
{
    int seen = 0;
    convgen_network *n = opened(context, CONVGEN_LOOP);
    for (int i = 0; i < n->plan.count; i++) {
        const cg_planned *o = &n->plan.at[i];
        int64_t bytes = (int64_t)cg_kernel_workspace(n->runs[i].kernel, 1);
        seen += bytes > 0;
        for (int slot = 0; slot < CG_SLOTS && bytes; slot++) {
            if (o->place[slot].kind != CG_AT_ARENA) continue;
            bool apart = o->place[slot].offset >= o->workspace.offset + bytes || o->workspace.offset > o->place[slot].offset;
            ck_assert_msg(apart, "%s: its operand at %lld is in its workspace", o->name, (long long)o->place[slot].offset);
        }
    }
    ck_assert_int_gt(seen, 0);
    convgen_network_free(n);
}
END_TEST

START_TEST(what_is_wrong_is_found)
{
    result r;
    convgen_network *n = opened(context, CONVGEN_LOOP);
    const cg_network_memory m = {(const void *[]){x}, (void *[]){r.y, r.z, r.u}, cg_aligned(convgen_network_workspace(n))};
    ck_assert_int_eq(count_right(n, &m), n->plan.count);
    for (int i = 0; i < n->plan.count; i++) { /* a packed weight, or a constant, is spoilt */
        float *spoilt = n->runs[i].packed ? n->runs[i].packed : n->runs[i].prepared.weights ? n->runs[i].prepared.weights : n->runs[i].fixed[CG_OP_BIAS];
        if (!spoilt || !n->plan.at[i].problem) continue;
        float before = *spoilt;
        *spoilt = 100;
        ck_assert_int_eq(count_right(n, &m), i);
        *spoilt = before;
    }
    cg_free(m.arena);
    convgen_network_free(n);
}
END_TEST

START_TEST(in_plain_loops_it_is_the_same)
{
    result r;
    convgen_network *n = opened(context, CONVGEN_LOOP);
    const cg_network_memory m = {(const void *[]){x}, (void *[]){r.y, r.z, r.u}, cg_aligned(convgen_network_workspace(n))};
    ck_assert_int_eq(cg_network_run_plainly(n, weights.text, &m), CONVGEN_OK);
    is_right(&r);
    cg_free(m.arena);
    convgen_network_free(n);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("network");
    TCase *t = test_case(suite, "runs", 4);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, a_run_gives_what_the_file_says);
    tcase_add_test(t, ports);
    tcase_add_test(t, threads_change_no_bit);
    tcase_add_loop_test(t, many_run_it_at_once, 1, 3);
    tcase_add_test(t, bad_pointers);
    tcase_add_test(t, bad_options);
    tcase_add_test(t, efforts);
    tcase_add_test(t, a_run_allocates_nothing);
    tcase_add_test(t, in_f64_it_is_the_same_network);
    tcase_add_test(t, workspaces_are_apart);
    tcase_add_test(t, what_is_wrong_is_found);
    tcase_add_test(t, in_plain_loops_it_is_the_same);
    TCase *files = test_case(suite, "files", 2);
    tcase_add_checked_fixture(files, begin, end);
    tcase_add_loop_test(files, bad_files, 0, sizeof changes / sizeof *changes);
    tcase_add_test(files, files_that_are_none);
    tcase_add_test(files, other_weights);
    tcase_add_test(files, the_hash_is_zlibs);
    TCase *memory = test_case(suite, "memory", 60);
    tcase_add_checked_fixture(memory, begin, end);
    tcase_add_test(memory, every_allocation_may_fail);
    TCase *kept = test_case(suite, "kept", 2);
    tcase_add_checked_fixture(kept, begin, end);
    tcase_add_test(kept, options_may_be_missing);
    return test_run(suite);
}
