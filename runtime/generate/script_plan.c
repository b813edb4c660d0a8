/* script_plan.c: asks the generator what is to be done for a network: a file's text -> its operations and where their operands are.
 *
 * What is answered is checked before it is believed: no operand is outside of what it is in. Limit: whether it is what the file means is
 * the generator's. */
#include "script.h"
#include <string.h>

enum { MOST_OPERATIONS = 1 << 17, MOST_PORTS = 1 << 12, MOST_NAME = 1 << 20, SHOWN = 64 << 20 };
#define MOST_BYTES (1LL << 46)

static const char *const kinds[] = {[CG_AT_INPUT] = "input", [CG_AT_OUTPUT] = "output", [CG_AT_ARENA] = "arena",
                                    [CG_AT_WEIGHTS] = "weights", [CG_AT_PREPARED] = "prepared"};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct plan_job {
    const cg_network_request *request;
    const char *stage; /* of show */
    cg_network_plan plan;
    cg_buffer shown;
    char why[2 * CG_TEXT];
    bool refused, no_memory;
} plan_job;

/* ---- to Lua ---- */

static void push_request(lua_State *lua, const cg_network_request *r)
{
    lua_createtable(lua, 0, 8);
    lua_pushlstring(lua, r->text, r->length);
    lua_setfield(lua, -2, "text");
    cg_script_set_text(lua, "name", r->name);
    cg_script_set_text(lua, "target", r->target);
    cg_script_set_text(lua, "form", r->form);
    cg_script_set_integer(lua, "threads", r->threads > 0 ? r->threads : 1);
    lua_createtable(lua, r->count, 0);
    for (int i = 0; i < r->count && r->workspaces; i++) {
        lua_pushinteger(lua, r->workspaces[i]);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "workspaces");
}

/* Calls function(request, ...); whether it gave something, which is on top then. */
static bool asked(lua_State *lua, plan_job *job, const char *function)
{
    cg_script_push_function(lua, function);
    push_request(lua, job->request);
    lua_pushstring(lua, job->stage); /* NULL is nil */
    lua_call(lua, 2, 2);
    job->refused = !lua_toboolean(lua, -2);
    if (job->refused) {
        const char *why = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "refused without a reason";
        snprintf(job->why, sizeof job->why, "%s", why);
    }
    lua_pop(lua, 1);
    return !job->refused;
}

/* ---- from Lua ---- */

static int wrong(lua_State *lua, const char *what) { return luaL_error(lua, "gen/network: %s is not what it should be", what); }

static void *made(plan_job *job, size_t count, size_t size)
{
    void *p = cg_calloc(count, size);
    job->no_memory |= !p;
    return p;
}

/* A text that is there and has no zeros; the plan's. NULL: no memory, or, of one that may be missing, none. */
static char *read_text(lua_State *lua, plan_job *job, const char *field, bool may_miss)
{
    size_t length = 0;
    lua_getfield(lua, -1, field);
    const char *text = lua_type(lua, -1) == LUA_TSTRING ? lua_tolstring(lua, -1, &length) : NULL;
    if (!text && !(may_miss && lua_isnil(lua, -1))) wrong(lua, field);
    if (length > MOST_NAME || (text && strlen(text) != length)) wrong(lua, field);
    char *copy = text ? cg_strdup(text) : NULL;
    job->no_memory |= text && !copy;
    lua_pop(lua, 1);
    return copy;
}

static double read_number(lua_State *lua, const char *field)
{
    lua_getfield(lua, -1, field);
    double value = lua_tonumber(lua, -1);
    lua_pop(lua, 1);
    return value;
}

static bool enter(lua_State *lua, const char *field)
{
    if (lua_getfield(lua, -1, field) == LUA_TTABLE) return true;
    lua_pop(lua, 1);
    return false;
}

static void read_constant(lua_State *lua, const char *field, cg_constant *c)
{
    if (!enter(lua, field)) return;
    cg_script_read_view(lua, &c->view);
    c->offset = cg_script_get_integer(lua, "offset", 0, MOST_BYTES);
    lua_pop(lua, 1);
}

static void read_fold_operand(lua_State *lua, cg_fold *f, int i)
{
    if (lua_rawgeti(lua, -1, i + 1) == LUA_TTABLE) {
        cg_script_read_view(lua, &f->operand[i].of.view);
        f->operand[i].of.offset = cg_script_get_integer(lua, "offset", 0, MOST_BYTES);
    } else if (lua_isnumber(lua, -1)) {
        f->operand[i].number = lua_tonumber(lua, -1);
    } else {
        wrong(lua, "an operand of a step of prepare");
    }
    lua_pop(lua, 1);
}

static void read_fold(lua_State *lua, cg_fold *f)
{
    static const char *const ops[CG_FOLD_KINDS] = {"mul", "div", "add", "sub", "batchnorm"};
    char op[16];
    int at = 0;
    cg_script_get_text(lua, "what", op, sizeof op);
    while (at < CG_FOLD_KINDS && strcmp(op, ops[at])) at++;
    if (at == CG_FOLD_KINDS) wrong(lua, "a step of prepare");
    *f = (cg_fold){.op = at, .epsilon = read_number(lua, "epsilon")};
    if (!enter(lua, "operands")) wrong(lua, "a step of prepare");
    int count = cg_script_length(lua, "operands", 4);
    if (count != (at == CG_FOLD_BATCHNORM ? 4 : 1)) wrong(lua, "a step of prepare");
    for (int i = 0; i < count; i++) read_fold_operand(lua, f, i);
    lua_pop(lua, 1);
}

static void read_prepare(lua_State *lua, cg_prepare *p)
{
    if (!enter(lua, "prepare")) wrong(lua, "prepare");
    read_constant(lua, "weights", &p->weights);
    read_constant(lua, "bias", &p->bias);
    read_constant(lua, "slope", &p->slope);
    if (enter(lua, "steps")) {
        p->folds = cg_script_length(lua, "steps", CG_FOLDS);
        for (int i = 0; i < p->folds; i++) {
            cg_script_push_entry(lua, "steps", i);
            read_fold(lua, &p->fold[i]);
            lua_pop(lua, 1);
        }
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

static void read_place(lua_State *lua, cg_place *p)
{
    char word[16];
    cg_script_get_text(lua, "place", word, sizeof word);
    int kind = CG_AT_INPUT;
    while (kind < KINDS && strcmp(word, kinds[kind])) kind++;
    if (kind == KINDS) wrong(lua, "a place");
    p->kind = kind;
    p->index = (int)cg_script_get_integer(lua, "index", 0, MOST_OPERATIONS);
    p->offset = cg_script_get_integer(lua, "offset", 0, MOST_BYTES);
}

static void read_places(lua_State *lua, cg_planned *o)
{
    if (!enter(lua, "operands")) wrong(lua, "operands");
    for (int i = 0; i <= CG_SLOTS; i++) {
        if (!enter(lua, i < CG_SLOTS ? cg_slot_name[i] : "workspace")) continue;
        read_place(lua, i < CG_SLOTS ? &o->place[i] : &o->workspace);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

/* Either a problem with what is prepared for it, or a kernel's operation. */
static void read_planned(lua_State *lua, plan_job *job, cg_planned *o)
{
    o->name = read_text(lua, job, "name", false);
    o->sentence = read_text(lua, job, "sentence", false);
    cg_script_get_text(lua, "op", o->op, sizeof o->op);
    o->macs = read_number(lua, "macs");
    o->bytes = read_number(lua, "bytes");
    read_places(lua, o);
    if ((o->problem = read_text(lua, job, "problem", true))) {
        o->prepare = made(job, 1, sizeof *o->prepare);
        if (o->prepare) read_prepare(lua, o->prepare);
    } else if (!job->no_memory && (o->operation = made(job, 1, sizeof *o->operation))) {
        if (!enter(lua, "kernel")) wrong(lua, "an operation without problem and kernel");
        cg_script_read_operation(lua, o->operation);
        lua_pop(lua, 1);
    }
}

static void read_port(lua_State *lua, plan_job *job, cg_port *p)
{
    p->name = read_text(lua, job, "name", false);
    cg_script_get_text(lua, "type", p->type, sizeof p->type);
    if (!enter(lua, "dims")) wrong(lua, "dims");
    p->rank = cg_script_length(lua, "dims", CG_RANK);
    for (int i = 0; i < p->rank; i++) {
        lua_rawgeti(lua, -1, i + 1);
        p->dims[i] = lua_tointeger(lua, -1);
        if (p->dims[i] < 0 || p->dims[i] > MOST_BYTES) wrong(lua, "a size");
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

static void read_ports(lua_State *lua, plan_job *job, const char *field, cg_ports *ports)
{
    if (!enter(lua, field)) wrong(lua, field);
    int count = cg_script_length(lua, field, MOST_PORTS);
    ports->at = made(job, (size_t)count, sizeof *ports->at);
    for (int i = 0; i < count && !job->no_memory; i++) {
        cg_script_push_entry(lua, field, i);
        ports->count = i + 1;
        read_port(lua, job, &ports->at[i]);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

static void read_weights(lua_State *lua, plan_job *job)
{
    cg_network_plan *p = &job->plan;
    if (!enter(lua, "weights")) return;
    p->weights = read_text(lua, job, "file", false);
    p->weights_bytes = cg_script_get_integer(lua, "bytes", 0, MOST_BYTES);
    lua_getfield(lua, -1, "hash");
    if (lua_type(lua, -1) == LUA_TSTRING) snprintf(p->hash, sizeof p->hash, "%s", lua_tostring(lua, -1));
    lua_pop(lua, 2);
}

static void read_operations(lua_State *lua, plan_job *job)
{
    cg_network_plan *p = &job->plan;
    if (!enter(lua, "operations")) wrong(lua, "operations");
    int count = cg_script_length(lua, "operations", MOST_OPERATIONS);
    p->at = made(job, (size_t)count, sizeof *p->at);
    for (int i = 0; i < count && !job->no_memory; i++) {
        cg_script_push_entry(lua, "operations", i);
        p->count = i + 1;
        read_planned(lua, job, &p->at[i]);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

static int make_plan(lua_State *lua)
{
    plan_job *job = lua_touserdata(lua, 1);
    if (!asked(lua, job, "network")) return 0;
    luaL_checktype(lua, -1, LUA_TTABLE);
    read_ports(lua, job, "inputs", &job->plan.inputs);
    read_ports(lua, job, "outputs", &job->plan.outputs);
    read_weights(lua, job);
    read_operations(lua, job);
    job->plan.arena_bytes = cg_script_get_integer(lua, "arena_bytes", 0, MOST_BYTES);
    job->plan.arena_lower_bound = cg_script_get_integer(lua, "arena_lower_bound", 0, MOST_BYTES);
    return 0;
}

static int make_shown(lua_State *lua)
{
    plan_job *job = lua_touserdata(lua, 1);
    size_t length;
    if (!asked(lua, job, "network_show")) return 0;
    const char *text = luaL_checklstring(lua, -1, &length);
    if (length > SHOWN) wrong(lua, "what is shown");
    cg_buffer_add(&job->shown, text, length);
    return 0;
}

static cg_status settled(cg_status status, const plan_job *job)
{
    if (!status && job->refused) status = cg_fail(CONVGEN_BAD_PROBLEM, "%s", job->why);
    if (!status && (job->no_memory || job->shown.failed)) status = cg_fail(CONVGEN_NO_MEMORY, "no memory for the network's plan");
    return status;
}

cg_status cg_script_network(cg_script *s, const cg_network_request *r, cg_network_plan *out)
{
    plan_job job = {.request = r};
    cg_status status = settled(cg_script_protect(s, make_plan, &job), &job);
    *out = job.plan;
    if (status) cg_network_plan_free(out);
    return status;
}

cg_status cg_script_show_network(cg_script *s, const cg_network_request *r, const char *stage, cg_buffer *out)
{
    plan_job job = {.request = r, .stage = stage};
    cg_status status = settled(cg_script_protect(s, make_shown, &job), &job);
    if (status) cg_buffer_free(&job.shown);
    else *out = job.shown;
    return status;
}

static void ports_free(cg_ports *ports)
{
    for (int i = 0; i < ports->count; i++) cg_free(ports->at[i].name);
    cg_free(ports->at);
}

void cg_network_plan_free(cg_network_plan *plan)
{
    for (int i = 0; i < plan->count; i++) {
        cg_planned *o = &plan->at[i];
        cg_free(o->name);
        cg_free(o->sentence);
        cg_free(o->problem);
        cg_free(o->prepare);
        cg_free(o->operation);
    }
    cg_free(plan->at);
    cg_free(plan->weights);
    ports_free(&plan->inputs);
    ports_free(&plan->outputs);
    *plan = (cg_network_plan){0};
}
