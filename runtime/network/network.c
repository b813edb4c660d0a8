/* network.c: a network's file -> opened -> run.
 *
 * The generator says what is to be done and where all lies (script_plan.c); here each operation gets its kernel (a convolution from its plan,
 * any other one compiled), weights are prepared and packed, and a run calls the kernels in order. An opened network is never changed: any
 * number of threads may run it at once, each in an arena of its own. */
#include "network/network.h"
#include <math.h>
#include <string.h>

enum { FILE_LIMIT = 32 << 20 };

/* ---- types and sizes ---- */

convgen_type cg_type_named(const char *name)
{
    int type = 0;
    while (type < CG_TYPES && strcmp(cg_types[type].name, name)) type++;
    return type < CG_TYPES ? (convgen_type)type : CONVGEN_I64;
}

size_t cg_type_bytes(convgen_type type) { return type == CONVGEN_I64 ? sizeof(int64_t) : cg_types[type].bytes; }

/* What a plan says is at most 2^46 elements, so this is no overflow. */
int64_t cg_port_bytes(const convgen_port *p)
{
    int64_t bytes = (int64_t)cg_type_bytes(p->type);
    for (int i = 0; i < p->rank; i++) bytes *= p->dims[i];
    return bytes;
}

/* ---- file -> plan ---- */

cg_status cg_network_read(const char *path, cg_buffer *text)
{
    cg_status status = cg_read_file(path, FILE_LIMIT, text);
    if (!status && memchr(text->text, 0, text->length)) {
        cg_buffer_free(text);
        return cg_fail(CONVGEN_BAD_PROBLEM, "%s is no network file: it has a zero byte", path);
    }
    return status;
}

static cg_status ask(const convgen_network *n, const cg_buffer *text, const char *path, const int64_t *workspaces, cg_network_plan *out)
{
    const convgen_context *c = n->context;
    const cg_network_request r = {.text = text->text, .length = text->length, .name = path, .target = c->target.name, .form = cg_form(&c->target, "tcc"),
                                  .threads = c->parallel.threads, .workspaces = workspaces, .count = workspaces ? n->plan.count : 0};
    return cg_script_network(c->script, &r, out);
}

cg_status cg_network_plan_of(convgen_context *c, const char *path, cg_network_plan *out)
{
    const convgen_network n = {.context = c};
    cg_buffer text = {0};
    *out = (cg_network_plan){0};
    cg_status status = cg_network_read(path, &text);
    if (!status) status = ask(&n, &text, path, NULL, out);
    cg_buffer_free(&text);
    return status;
}

static cg_status make_ports(const cg_ports *from, convgen_port **out)
{
    *out = cg_calloc((size_t)from->count, sizeof **out);
    if (!*out) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a network");
    for (int i = 0; i < from->count; i++) {
        (*out)[i] = (convgen_port){.name = from->at[i].name, .type = cg_type_named(from->at[i].type), .rank = from->at[i].rank};
        memcpy((*out)[i].dims, from->at[i].dims, sizeof from->at[i].dims);
    }
    return CONVGEN_OK;
}

/* ---- a network in f64, to compare with: elements of twice the size at twice the offset ---- */

static void double_type(char type[4])
{
    if (cg_type_named(type) == CONVGEN_F32) strcpy(type, cg_types[CONVGEN_F64].name);
}

static void double_place(cg_place *p)
{
    if (p->kind != CG_AT_WEIGHTS) p->offset *= 2;
}

static void double_plan(cg_network_plan *plan)
{
    plan->arena_bytes *= 2;
    for (int i = 0; i < plan->inputs.count; i++) double_type(plan->inputs.at[i].type);
    for (int i = 0; i < plan->outputs.count; i++) double_type(plan->outputs.at[i].type);
    for (int i = 0; i < plan->count; i++) {
        cg_planned *o = &plan->at[i];
        double_place(&o->workspace);
        for (int s = 0; s < CG_SLOTS; s++) {
            double_place(&o->place[s]);
            if (o->operation) double_type(o->operation->view[s].type);
        }
    }
}

/* ---- operations -> kernels ---- */

static cg_status failed_at(cg_status status, const cg_planned *o)
{
    return cg_fail(status, "%s: %s", o->name, cg_error_text());
}

static cg_status make_plan(convgen_network *n, const cg_network_how *how, int i)
{
    cg_runs *r = &n->runs[i];
    n->distinct++;
    cg_status status = cg_plan_create_for_network(n->context, &r->problem, how->effort, how->seconds, &r->plan);
    return status ? failed_at(status, &n->plan.at[i]) : CONVGEN_OK;
}

static cg_status make_own(convgen_network *n, int i)
{
    const convgen_context *c = n->context;
    const cg_planned *o = &n->plan.at[i];
    const char *form = cg_form(&c->target, "tcc");
    const cg_operation_request request = {.operation = o->operation, .sentence = o->sentence, .target = c->target.name, .form = form,
                                          .threads = c->parallel.threads};
    char why[CG_WHY];
    cg_source source;
    cg_status status = cg_script_operation(c->script, &request, &source, why);
    if (!status) status = cg_kernel_compile(&source, &(cg_making){o->op, "tcc", c->target.flags}, &n->runs[i].own, why);
    n->runs[i].own.machine = !strcmp(form, "machine");
    return status ? failed_at(status, o) : CONVGEN_OK;
}

static bool same_work(const convgen_network *n, int i, int j)
{
    const cg_runs *a = &n->runs[i], *b = &n->runs[j];
    const cg_planned *x = &n->plan.at[i], *y = &n->plan.at[j];
    if (a->hash != b->hash || !x->problem != !y->problem) return false;
    return x->problem ? cg_problem_equal(&a->problem, &b->problem) : !memcmp(x->operation, y->operation, sizeof *x->operation);
}

static int find_same(const convgen_network *n, int i)
{
    int j = 0;
    while (j < i && !same_work(n, i, j)) j++;
    return j;
}

/* The text says nothing of the accuracy. */
static cg_status read_problem(convgen_network *n, const cg_network_how *how, int i)
{
    cg_runs *r = &n->runs[i];
    cg_status status = convgen_problem_parse(n->plan.at[i].problem, &r->problem);
    if (how->doubled) r->problem.type = CONVGEN_F64;
    r->problem.accuracy = how->accuracy;
    if (!status) status = cg_problem_normalise(&r->problem);
    return status ? failed_at(status, &n->plan.at[i]) : CONVGEN_OK;
}

/* An operation has the kernel of one before it that does the same. */
static cg_status make_kernel(convgen_network *n, const cg_network_how *how, int i)
{
    cg_runs *r = &n->runs[i];
    const cg_planned *o = &n->plan.at[i];
    cg_status status = o->problem ? read_problem(n, how, i) : CONVGEN_OK;
    if (status) return status;
    r->hash = o->problem ? cg_hash(o->problem, strlen(o->problem), 0) : cg_hash(o->operation, sizeof *o->operation, 1);
    int same = find_same(n, i);
    if (same == i && how->next) how->next(how->user, i, o);
    if (same == i) status = o->problem ? make_plan(n, how, i) : make_own(n, i);
    if (status) return status;
    r->plan = n->runs[same].plan;
    r->kernel = r->plan ? cg_plan_kernel(r->plan) : &n->runs[same].own;
    r->parallel = r->plan ? *cg_plan_parallel(r->plan) : n->context->parallel;
    return CONVGEN_OK;
}

/* ---- kernels -> where all lies ---- */

static size_t workspace_of(const cg_runs *r) { return cg_kernel_workspace(r->kernel, r->parallel.threads); }

static cg_status place_all(convgen_network *n, const cg_network_how *how, const cg_buffer *text, const char *path)
{
    cg_network_plan placed;
    int count = n->plan.count;
    int64_t *workspaces = cg_malloc((size_t)count * sizeof *workspaces);
    if (!workspaces) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a network");
    for (int i = 0; i < count; i++) workspaces[i] = (int64_t)workspace_of(&n->runs[i]) / (how->doubled ? 2 : 1);
    cg_status status = ask(n, text, path, workspaces, &placed);
    cg_free(workspaces);
    if (status) return status;
    if (how->doubled) double_plan(&placed);
    bool same = placed.count == count && placed.inputs.count == n->plan.inputs.count && placed.outputs.count == n->plan.outputs.count;
    cg_network_plan_free(&n->plan);
    n->plan = placed;
    return same ? CONVGEN_OK : cg_fail(CONVGEN_INTERNAL, "%s: the generator's second plan is another than its first", path);
}

static int64_t room_at(const convgen_network *n, const cg_place *p)
{
    const cg_network_plan *plan = &n->plan;
    switch (p->kind) {
    case CG_AT_INPUT: return p->index < plan->inputs.count ? cg_port_bytes(&n->inputs[p->index]) : -1;
    case CG_AT_OUTPUT: return p->index < plan->outputs.count ? cg_port_bytes(&n->outputs[p->index]) : -1;
    case CG_AT_ARENA: return plan->arena_bytes;
    case CG_AT_WEIGHTS: return plan->weights_bytes;
    default: return -1;
    }
}

/* Bytes of an operand from its first to its last element. */
static size_t operand_bytes(const convgen_network *n, int i, int slot)
{
    static const int tensor_of[CG_SLOTS] = {CG_SRC, CG_WEIGHTS, CG_RESIDUAL, CG_BIAS, CG_SLOPE, CG_DST};
    const cg_planned *o = &n->plan.at[i];
    size_t bytes[CG_TENSORS];
    if (o->operation) return cg_view_bytes(&o->operation->view[slot]);
    cg_tensor_bytes(&n->runs[i].problem, bytes);
    return bytes[tensor_of[slot]];
}

/* Of a type in the file, where an operand of the network in f64 has twice the size. */
static size_t stored_bytes(const convgen_network *n, int i, int slot)
{
    size_t element = cg_type_bytes(cg_type_named(n->plan.at[i].operation->view[slot].type));
    return operand_bytes(n, i, slot) / element * cg_type_bytes(cg_type_named(n->runs[i].stored[slot]));
}

static bool is_within(const convgen_network *n, int i, int slot)
{
    const cg_place *p = &n->plan.at[i].place[slot];
    if (p->kind == CG_AT_NOWHERE) return !n->plan.at[i].operation || !n->plan.at[i].operation->view[slot].type[0];
    if (p->kind == CG_AT_PREPARED) return n->plan.at[i].problem && slot != CG_OP_SRC && slot != CG_OP_DST && slot != CG_OP_RESIDUAL;
    if (p->kind == CG_AT_WEIGHTS && (!n->plan.at[i].operation || slot == CG_OP_DST)) return false;
    int64_t room = room_at(n, p), bytes = (int64_t)(p->kind == CG_AT_WEIGHTS ? stored_bytes(n, i, slot) : operand_bytes(n, i, slot));
    return room >= bytes && p->offset <= room - bytes;
}

static bool workspace_is_within(const convgen_network *n, int i)
{
    int64_t bytes = (int64_t)workspace_of(&n->runs[i]);
    const cg_place *p = &n->plan.at[i].workspace;
    return !bytes || (p->kind == CG_AT_ARENA && bytes <= n->plan.arena_bytes && p->offset <= n->plan.arena_bytes - bytes);
}

/* A kernel believes its pointers: what the generator says of them is looked at. */
static cg_status check_places(const convgen_network *n)
{
    for (int i = 0; i < n->plan.count; i++) {
        bool within = workspace_is_within(n, i);
        for (int slot = 0; slot < CG_SLOTS; slot++) within = within && is_within(n, i, slot);
        if (!within) return cg_fail(CONVGEN_INTERNAL, "%s: the generator places it outside of its memory", n->plan.at[i].name);
    }
    return CONVGEN_OK;
}

/* ---- weights -> prepared, packed ---- */

/* Parts of the network's memory, in order; without memory only their sizes are counted. */
typedef struct cg_parts {
    char *memory;
    size_t at;
} cg_parts;

static void *part(cg_parts *p, size_t bytes)
{
    void *here = p->memory ? p->memory + p->at : NULL;
    p->at += cg_round64(bytes);
    return here;
}

static void divide_one(convgen_network *n, int i, cg_parts *parts)
{
    cg_runs *r = &n->runs[i];
    const cg_planned *o = &n->plan.at[i];
    cg_sizes sizes = o->problem ? cg_problem_sizes(&r->problem) : (cg_sizes){0};
    size_t element = sizes.element;
    if (o->problem) {
        size_t packed = r->kernel->source.packed;
        if (packed) r->packed = part(parts, packed);
        else r->prepared.weights = part(parts, element * (size_t)sizes.weights);
        if (r->problem.bias) r->prepared.bias = part(parts, element * (size_t)sizes.bias);
        if (r->problem.epilogue.activation == CONVGEN_PRELU) r->prepared.slope = part(parts, element * (size_t)sizes.bias);
    }
    for (int slot = 0; slot < CG_SLOTS; slot++)
        if (o->place[slot].kind == CG_AT_WEIGHTS) r->fixed[slot] = part(parts, operand_bytes(n, i, slot));
}

static size_t divide(convgen_network *n, char *memory)
{
    cg_parts parts = {memory, 0};
    for (int i = 0; i < n->plan.count; i++) divide_one(n, i, &parts);
    return parts.at;
}

static void copy_constant(const convgen_network *n, int i, int slot, const char *file)
{
    const cg_planned *o = &n->plan.at[i];
    const cg_view *v = &o->operation->view[slot];
    const char *from = file + o->place[slot].offset;
    size_t bytes = cg_view_bytes(v);
    if (!strcmp(v->type, n->runs[i].stored[slot])) memcpy(n->runs[i].fixed[slot], from, bytes);
    else cg_retype(cg_type_named(n->runs[i].stored[slot]), from, cg_type_named(v->type), n->runs[i].fixed[slot], (int64_t)(bytes / cg_view_element(v)));
}

/* Memory that preparing and packing need for a while, enough for any operation. */
typedef struct cg_packing_room {
    void *weights, *workspace;
} cg_packing_room;

static cg_status make_room(const convgen_network *n, cg_packing_room *room)
{
    size_t weights = 0, workspace = 0;
    for (int i = 0; i < n->plan.count; i++) {
        if (!n->plan.at[i].problem) continue;
        cg_sizes sizes = cg_problem_sizes(&n->runs[i].problem);
        weights = weights > sizes.element * (size_t)sizes.weights ? weights : sizes.element * (size_t)sizes.weights;
        workspace = workspace > workspace_of(&n->runs[i]) ? workspace : workspace_of(&n->runs[i]);
    }
    room->weights = cg_aligned(weights);
    room->workspace = cg_aligned(workspace);
    return room->weights && room->workspace ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "no memory to pack weights");
}

static cg_status prepare_one(convgen_network *n, int i, const char *file, const cg_packing_room *room)
{
    cg_runs *r = &n->runs[i];
    const cg_planned *o = &n->plan.at[i];
    for (int slot = 0; slot < CG_SLOTS; slot++)
        if (o->place[slot].kind == CG_AT_WEIGHTS) copy_constant(n, i, slot, file);
    if (!o->problem) return CONVGEN_OK;
    cg_prepared to = r->prepared;
    if (r->packed) to.weights = room->weights;
    cg_status status = cg_prepare_weights(&r->problem, o->prepare, file, &n->context->parallel, &to);
    if (status) return failed_at(status, o);
    if (r->packed) cg_kernel_pack(r->kernel, &r->parallel, to.weights, r->packed, room->workspace);
    r->fixed[CG_OP_WEIGHTS] = r->prepared.weights;
    r->fixed[CG_OP_BIAS] = r->prepared.bias;
    r->fixed[CG_OP_SLOPE] = r->prepared.slope;
    return CONVGEN_OK;
}

static cg_status prepare_all(convgen_network *n, const char *path)
{
    void *file = NULL;
    cg_packing_room room = {0};
    cg_status status = cg_weights_read(path, &n->plan, &file);
    n->memory_bytes = divide(n, NULL);
    if (!status && !(n->memory = cg_page_aligned(n->memory_bytes)))
        status = cg_fail(CONVGEN_NO_MEMORY, "no memory for %zu bytes of packed weights", n->memory_bytes);
    if (!status) status = make_room(n, &room);
    if (!status) divide(n, n->memory);
    for (int i = 0; i < n->plan.count && !status; i++) status = prepare_one(n, i, file, &room);
    cg_free(room.weights);
    cg_free(room.workspace);
    cg_free(file);
    return status;
}

/* ---- opened ---- */

static void keep_stored_types(convgen_network *n)
{
    for (int i = 0; i < n->plan.count; i++)
        for (int slot = 0; slot < CG_SLOTS && n->plan.at[i].operation; slot++)
            memcpy(n->runs[i].stored[slot], n->plan.at[i].operation->view[slot].type, sizeof n->runs[i].stored[slot]);
}

static cg_status read_plan(convgen_network *n, const cg_network_how *how, const cg_buffer *text, const char *path)
{
    cg_status status = ask(n, text, path, NULL, &n->plan);
    if (status) return status;
    n->runs = cg_calloc((size_t)n->plan.count, sizeof *n->runs);
    if (!n->runs) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a network");
    keep_stored_types(n);
    if (how->doubled) double_plan(&n->plan);
    return CONVGEN_OK;
}

static cg_status make_all(convgen_network *n, const cg_network_how *how, const char *path)
{
    cg_buffer text = {0};
    cg_status status = cg_network_read(path, &text);
    if (!status) status = read_plan(n, how, &text, path);                    /* file -> operations */
    for (int i = 0; !status && i < n->plan.count; i++) status = make_kernel(n, how, i); /* operations -> kernels */
    if (!status) status = place_all(n, how, &text, path);                    /* with their workspaces -> the arena */
    cg_buffer_free(&text);
    if (!status) status = make_ports(&n->plan.inputs, &n->inputs);
    if (!status) status = make_ports(&n->plan.outputs, &n->outputs);
    if (!status) status = check_places(n);
    return status ? status : prepare_all(n, path);                           /* weights -> prepared, packed */
}

cg_status cg_network_open(convgen_context *c, const char *path, const cg_network_how *how, convgen_network **out)
{
    *out = NULL;
    convgen_network *n = cg_calloc(1, sizeof *n);
    if (!n) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a network");
    cg_context_hold(c);
    n->context = c;
    cg_status status = make_all(n, how, path);
    if (status) convgen_network_free(n);
    else *out = n;
    return status;
}

void convgen_network_free(convgen_network *n)
{
    if (!n) return;
    for (int i = 0; i < n->plan.count && n->runs; i++) {
        bool first = true;
        for (int j = 0; j < i && n->runs[i].plan && first; j++) first = n->runs[j].plan != n->runs[i].plan;
        if (first) convgen_plan_free(n->runs[i].plan);
        if (n->runs[i].own.code) cg_kernel_free(&n->runs[i].own);
    }
    cg_free(n->runs);
    cg_free(n->memory);
    cg_free(n->inputs);
    cg_free(n->outputs);
    cg_network_plan_free(&n->plan);
    cg_context_release(n->context);
    cg_free(n);
}

static cg_status check_options(const convgen_network_options *o)
{
    if ((int)o->effort < CONVGEN_RECALL || o->effort > CONVGEN_EXHAUSTIVE)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "options.effort is %d; CONVGEN_RECALL to CONVGEN_EXHAUSTIVE (%d to %d) are allowed", (int)o->effort,
                       CONVGEN_RECALL, CONVGEN_EXHAUSTIVE);
    if (!(o->seconds >= 0)) return cg_fail(CONVGEN_BAD_ARGUMENT, "options.seconds is %g; 0 (no limit) or more is allowed", o->seconds);
    if ((int)o->accuracy < 0 || (int)o->accuracy >= CG_ACCURACIES)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "options.accuracy is %d; 0 to %d are allowed", (int)o->accuracy, CG_ACCURACIES - 1);
    return CONVGEN_OK;
}

convgen_status convgen_network_open(convgen_context *context, const char *path, const convgen_network_options *options_or_null, convgen_network **out)
{
    if (!out) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_network_open: out is NULL");
    *out = NULL;
    if (!context || !path) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_network_open: %s is NULL", context ? "path" : "context");
    if (options_or_null && options_or_null->struct_size == 0)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "options.struct_size is 0; it must be sizeof(convgen_network_options)");
    convgen_network_options o = {.effort = options_or_null ? CONVGEN_RECALL : CONVGEN_ESTIMATE};
    if (options_or_null) memcpy(&o, options_or_null, options_or_null->struct_size < sizeof o ? options_or_null->struct_size : sizeof o);
    cg_status status = check_options(&o);
    if (status) return status;
    const cg_network_how how = {.effort = o.effort, .seconds = o.seconds, .accuracy = o.accuracy};
    return cg_network_open(context, path, &how, out);
}

/* ---- run ---- */

const convgen_port *convgen_network_input(const convgen_network *n, int i) { return n && i >= 0 && i < n->plan.inputs.count ? &n->inputs[i] : NULL; }
const convgen_port *convgen_network_output(const convgen_network *n, int i) { return n && i >= 0 && i < n->plan.outputs.count ? &n->outputs[i] : NULL; }
size_t convgen_network_workspace(const convgen_network *n) { return n ? (size_t)n->plan.arena_bytes : 0; }

void cg_network_operands(const convgen_network *n, int operation, const cg_network_memory *m, void *at[CG_SLOTS])
{
    const cg_planned *o = &n->plan.at[operation];
    for (int slot = 0; slot < CG_SLOTS; slot++) {
        const cg_place *p = &o->place[slot];
        char *base = p->kind == CG_AT_INPUT ? (char *)m->inputs[p->index] /* only read */
                   : p->kind == CG_AT_OUTPUT ? m->outputs[p->index] : p->kind == CG_AT_ARENA ? m->arena : NULL;
        at[slot] = base ? base + p->offset : n->runs[operation].fixed[slot];
    }
}

void cg_network_run_one(const convgen_network *n, int operation, const cg_network_memory *m)
{
    const cg_runs *r = &n->runs[operation];
    void *at[CG_SLOTS];
    cg_network_operands(n, operation, m, at);
    const cg_operands o = {{{.src = at[CG_OP_SRC], .weights = at[CG_OP_WEIGHTS], .bias = at[CG_OP_BIAS], .dst = at[CG_OP_DST],
                             .residual = at[CG_OP_RESIDUAL], .slope = at[CG_OP_SLOPE]}}, {0}};
    cg_kernel_run(r->kernel, &r->parallel, &o, r->packed, m->arena + n->plan.at[operation].workspace.offset);
}

typedef struct cg_given {
    const char *what;
    const convgen_port *port;
    const char *at;
    int64_t bytes;
} cg_given;

static cg_given given(const convgen_network *n, const cg_network_memory *m, int i)
{
    bool input = i < n->plan.inputs.count;
    int k = input ? i : i - n->plan.inputs.count;
    const convgen_port *p = input ? &n->inputs[k] : &n->outputs[k];
    return (cg_given){input ? "input" : "output", p, input ? m->inputs[k] : m->outputs[k], cg_port_bytes(p)};
}

static cg_status check_pointer(const cg_given *g)
{
    if (!g->at) return cg_fail(CONVGEN_BAD_ARGUMENT, "%s %s is NULL", g->what, g->port->name);
    if ((uintptr_t)g->at & (cg_type_bytes(g->port->type) - 1))
        return cg_fail(CONVGEN_BAD_ARGUMENT, "%s %s is not aligned to %zu bytes", g->what, g->port->name, cg_type_bytes(g->port->type));
    return CONVGEN_OK;
}

static bool overlap(const char *a, int64_t a_bytes, const char *b, int64_t b_bytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return x < y + (uintptr_t)b_bytes && y < x + (uintptr_t)a_bytes;
}

/* Outputs overlap nothing, and so does the arena. */
static cg_status check_memory(const convgen_network *n, const cg_network_memory *m)
{
    int inputs = n->plan.inputs.count, all = inputs + n->plan.outputs.count;
    for (int i = 0; i < all; i++) {
        cg_given a = given(n, m, i);
        cg_status status = check_pointer(&a);
        if (status) return status;
        if (overlap(a.at, a.bytes, m->arena, n->plan.arena_bytes))
            return cg_fail(CONVGEN_BAD_ARGUMENT, "%s %s overlaps the workspace", a.what, a.port->name);
        for (int j = i >= inputs ? 0 : i; j < i; j++) {
            cg_given b = given(n, m, j);
            if (overlap(a.at, a.bytes, b.at, b.bytes))
                return cg_fail(CONVGEN_BAD_ARGUMENT, "output %s overlaps %s %s", a.port->name, b.what, b.port->name);
        }
    }
    return CONVGEN_OK;
}

convgen_status convgen_network_run(const convgen_network *n, const void *const *inputs, void *const *outputs, void *workspace)
{
    if (!n) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_network_run: network is NULL");
    if ((!inputs && n->plan.inputs.count) || !outputs) return cg_fail(CONVGEN_BAD_ARGUMENT, "convgen_network_run: %s is NULL", outputs ? "inputs" : "outputs");
    if ((uintptr_t)workspace & 63) return cg_fail(CONVGEN_BAD_ARGUMENT, "workspace is not aligned to 64 bytes");
    size_t bytes = convgen_network_workspace(n);
    cg_network_memory m = {inputs, outputs, workspace};
    void *own = workspace ? NULL : cg_page_aligned(bytes);
    if (!workspace && !own) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a workspace of %zu bytes", bytes);
    if (own) m.arena = own;
    cg_status status = check_memory(n, &m);
    for (int i = 0; i < n->plan.count && !status; i++) cg_network_run_one(n, i, &m);
    cg_free(own);
    return status;
}
