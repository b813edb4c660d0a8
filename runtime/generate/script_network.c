/* script_network.c: asks the generator for an operation of a network on views.
 *
 * An operation becomes a table and comes back from one, field by field (`rows`); whatever is answered is checked before it is believed. */
#include "script.h"
#include <stddef.h>
#include <string.h>

const char *const cg_slot_name[CG_SLOTS] = {"src", "weights", "residual", "bias", "slope", "dst"};

#define MOST_ELEMENTS (1LL << 46)
#define MOST_INTEGER (1LL << 53)

/* Attributes, by the names that kernels.lua has for them. */
enum kind { WORD, INTEGERS, NUMBERS, NUMBER, FLAG };
static const struct row {
    const char *name;
    enum kind kind;
    size_t at, size; /* size: of a word */
} rows[] = {
#define FIELD(name, kind) {#name, kind, offsetof(cg_operation, name), sizeof(((cg_operation *)0)->name)}
    FIELD(op, WORD),         FIELD(mode, WORD),       FIELD(coordinates, WORD), FIELD(rounding, WORD),  FIELD(axes, INTEGERS),
    FIELD(kernel, INTEGERS), FIELD(stride, INTEGERS), FIELD(pad, INTEGERS),     FIELD(dilation, INTEGERS), FIELD(before, INTEGERS),
    FIELD(indices, INTEGERS), FIELD(counted, FLAG),   FIELD(epsilon, NUMBER),   FIELD(value, NUMBER),      FIELD(factors, NUMBERS),
};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* ---- to Lua ---- */

static void push_integers(lua_State *lua, const int64_t *at, int count)
{
    lua_createtable(lua, count, 0);
    for (int i = 0; i < count; i++) {
        lua_pushinteger(lua, at[i]);
        lua_rawseti(lua, -2, i + 1);
    }
}

static void push_numbers(lua_State *lua, const cg_numbers *list)
{
    lua_createtable(lua, list->count, 0);
    for (int i = 0; i < list->count; i++) {
        lua_pushnumber(lua, list->at[i]);
        lua_rawseti(lua, -2, i + 1);
    }
}

static void set_number(lua_State *lua, const char *field, double value)
{
    lua_pushnumber(lua, value);
    lua_setfield(lua, -2, field);
}

/* A word that is empty, and a list without entries, are not there. */
static void set_row(lua_State *lua, const cg_operation *o, const struct row *r)
{
    const void *at = (const char *)o + r->at;
    switch (r->kind) {
    case WORD:
        if (*(const char *)at) cg_script_set_text(lua, r->name, at);
        return;
    case INTEGERS:
        if (!((const cg_integers *)at)->count) return;
        push_integers(lua, ((const cg_integers *)at)->at, ((const cg_integers *)at)->count);
        break;
    case NUMBERS:
        if (!((const cg_numbers *)at)->count) return;
        push_numbers(lua, at);
        break;
    case NUMBER: lua_pushnumber(lua, *(const double *)at); break;
    case FLAG: lua_pushboolean(lua, *(const bool *)at); break;
    }
    lua_setfield(lua, -2, r->name);
}

static void push_step_operand(lua_State *lua, const cg_step_operand *f)
{
    if (f->kind == CG_OF_SLOT) lua_pushstring(lua, cg_slot_name[f->index]);
    else if (f->kind == CG_OF_STEP) lua_pushinteger(lua, f->index);
    else {
        lua_createtable(lua, 0, 1);
        set_number(lua, "value", f->value);
    }
}

static void push_steps(lua_State *lua, const cg_operation *o)
{
    lua_createtable(lua, o->steps, 0);
    for (int i = 0; i < o->steps; i++) {
        const cg_step *s = &o->step[i];
        lua_createtable(lua, s->count + 1, 2);
        lua_pushstring(lua, s->name);
        lua_rawseti(lua, -2, 1);
        for (int j = 0; j < s->count; j++) {
            push_step_operand(lua, &s->operand[j]);
            lua_rawseti(lua, -2, j + 2);
        }
        set_number(lua, "lo", s->lo);
        set_number(lua, "hi", s->hi);
        lua_rawseti(lua, -2, i + 1);
    }
}

static void push_views(lua_State *lua, const cg_operation *o)
{
    lua_createtable(lua, 0, CG_SLOTS);
    for (int i = 0; i < CG_SLOTS; i++) {
        const cg_view *v = &o->view[i];
        if (!v->type[0]) continue;
        lua_createtable(lua, 0, 3);
        cg_script_set_text(lua, "type", v->type);
        push_integers(lua, v->dims, v->rank);
        lua_setfield(lua, -2, "dims");
        push_integers(lua, v->strides, v->rank);
        lua_setfield(lua, -2, "strides");
        lua_setfield(lua, -2, cg_slot_name[i]);
    }
}

void cg_script_push_operation(lua_State *lua, const cg_operation *o)
{
    lua_createtable(lua, 0, ROWS + 2);
    for (int i = 0; i < ROWS; i++) set_row(lua, o, &rows[i]);
    push_steps(lua, o);
    lua_setfield(lua, -2, "steps");
    push_views(lua, o);
    lua_setfield(lua, -2, "views");
}

/* ---- from Lua ---- */

/* The array on top, which is then gone. */
static int read_integers(lua_State *lua, const char *what, int64_t *at, int most, int64_t least)
{
    int count = cg_script_length(lua, what, most);
    for (int i = 0; i < count; i++) {
        int exact;
        lua_rawgeti(lua, -1, i + 1);
        at[i] = lua_tointegerx(lua, -1, &exact);
        if (!exact || at[i] < least || at[i] > MOST_INTEGER) luaL_error(lua, "gen/network: entry %d of %s is no size", i + 1, what);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    return count;
}

static double take_number(lua_State *lua, const char *what)
{
    int number;
    double value = lua_tonumberx(lua, -1, &number);
    if (!number) luaL_error(lua, "gen/network: %s must be a number", what);
    lua_pop(lua, 1);
    return value;
}

static void read_numbers(lua_State *lua, const char *what, cg_numbers *list)
{
    list->count = cg_script_length(lua, what, CG_RANK);
    for (int i = 0; i < list->count; i++) {
        lua_rawgeti(lua, -1, i + 1);
        list->at[i] = take_number(lua, what);
    }
    lua_pop(lua, 1);
}

static void read_row(lua_State *lua, cg_operation *o, const struct row *r)
{
    void *at = (char *)o + r->at;
    if (lua_getfield(lua, -1, r->name) == LUA_TNIL) {
        lua_pop(lua, 1);
        return;
    }
    cg_integers *list = at;
    switch (r->kind) {
    case WORD:
        lua_pop(lua, 1);
        cg_script_get_text(lua, r->name, at, r->size);
        return;
    case INTEGERS: list->count = read_integers(lua, r->name, list->at, CG_INDICES, -MOST_INTEGER); return;
    case NUMBERS: read_numbers(lua, r->name, at); return;
    case NUMBER: *(double *)at = take_number(lua, r->name); return;
    case FLAG:
        *(bool *)at = lua_toboolean(lua, -1);
        lua_pop(lua, 1);
    }
}

static int slot_of(lua_State *lua, const char *name)
{
    for (int i = 0; i < CG_SLOTS; i++)
        if (name && !strcmp(name, cg_slot_name[i])) return i;
    return luaL_error(lua, "gen/network: a step reads %s, which is no slot", name ? name : "nothing");
}

/* What is on top, which is then gone. */
static void read_step_operand(lua_State *lua, int steps, cg_step_operand *f)
{
    if (lua_istable(lua, -1)) {
        lua_getfield(lua, -1, "value");
        *f = (cg_step_operand){CG_OF_NUMBER, 0, take_number(lua, "a step's value")};
    } else if (lua_isinteger(lua, -1)) {
        lua_Integer step = lua_tointeger(lua, -1);
        if (step < 1 || step > steps) luaL_error(lua, "gen/network: step %d reads the result of step %I", steps + 1, step);
        *f = (cg_step_operand){CG_OF_STEP, (int)step, 0};
    } else {
        *f = (cg_step_operand){CG_OF_SLOT, slot_of(lua, lua_tostring(lua, -1)), 0};
    }
    lua_pop(lua, 1);
}

static double optional_number(lua_State *lua, const char *field)
{
    if (lua_getfield(lua, -1, field) != LUA_TNIL) return take_number(lua, field);
    lua_pop(lua, 1);
    return 0;
}

static void read_step(lua_State *lua, int number, cg_step *s)
{
    int length = cg_script_length(lua, "a step", CG_STEP_OPERANDS + 1);
    lua_rawgeti(lua, -1, 1);
    const char *name = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "";
    if (!*name || strlen(name) >= sizeof s->name) luaL_error(lua, "gen/network: step %d has no name", number + 1);
    strcpy(s->name, name);
    lua_pop(lua, 1);
    s->count = length - 1;
    for (int i = 0; i < s->count; i++) {
        lua_rawgeti(lua, -1, i + 2);
        read_step_operand(lua, number, &s->operand[i]);
    }
    s->lo = optional_number(lua, "lo");
    s->hi = optional_number(lua, "hi");
}

static void read_steps(lua_State *lua, cg_operation *o)
{
    if (lua_getfield(lua, -1, "steps") != LUA_TNIL) {
        o->steps = cg_script_length(lua, "steps", CG_CHAIN);
        for (int i = 0; i < o->steps; i++) {
            cg_script_push_entry(lua, "steps", i);
            read_step(lua, i, &o->step[i]);
            lua_pop(lua, 1);
        }
    }
    lua_pop(lua, 1);
}

void cg_script_read_view(lua_State *lua, cg_view *v)
{
    cg_script_get_text(lua, "type", v->type, sizeof v->type);
    lua_getfield(lua, -1, "dims");
    v->rank = read_integers(lua, "dims", v->dims, CG_RANK, 0);
    lua_getfield(lua, -1, "strides");
    int strides = read_integers(lua, "strides", v->strides, CG_RANK, 0);
    if (strides != v->rank) luaL_error(lua, "gen/network: a view of %d dims has %d strides", v->rank, strides);
    int64_t last = 0; /* the last element's place */
    for (int i = 0; i < v->rank; i++) {
        int64_t far;
        if (__builtin_mul_overflow(v->dims[i] ? v->dims[i] - 1 : 0, v->strides[i], &far) || far > MOST_ELEMENTS - last)
            luaL_error(lua, "gen/network: a view is too large");
        last += far;
    }
}

void cg_script_read_operation(lua_State *lua, cg_operation *o)
{
    *o = (cg_operation){0};
    luaL_checktype(lua, -1, LUA_TTABLE);
    for (int i = 0; i < ROWS; i++) read_row(lua, o, &rows[i]);
    read_steps(lua, o);
    lua_getfield(lua, -1, "views");
    luaL_checktype(lua, -1, LUA_TTABLE);
    for (int i = 0; i < CG_SLOTS; i++) {
        if (lua_getfield(lua, -1, cg_slot_name[i]) == LUA_TTABLE) cg_script_read_view(lua, &o->view[i]);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

/* ---- source ---- */

typedef struct operation_job {
    const cg_operation_request *request;
    const char *stage; /* of show */
    cg_source source;
    cg_buffer text;
    char *why;
    bool refused;
} operation_job;

static void push_request(lua_State *lua, const cg_operation_request *r)
{
    lua_createtable(lua, 0, 6);
    cg_script_push_operation(lua, r->operation);
    lua_getfield(lua, -1, "views");
    lua_setfield(lua, -3, "views");
    lua_setfield(lua, -2, "operation");
    cg_script_set_text(lua, "sentence", r->sentence);
    cg_script_set_text(lua, "target", r->target);
    cg_script_set_text(lua, "form", r->form);
    cg_script_set_integer(lua, "threads", r->threads > 0 ? r->threads : 1);
}

/* Calls function(request, stage); whether it gave something, which is on top then. */
static bool asked(lua_State *lua, operation_job *job, const char *function)
{
    cg_script_push_function(lua, function);
    push_request(lua, job->request);
    lua_pushstring(lua, job->stage); /* NULL is nil */
    lua_call(lua, 2, 2);
    job->refused = !lua_toboolean(lua, -2);
    if (job->refused) cg_script_copy_why(lua, -1, job->why);
    else lua_pop(lua, 1);
    return !job->refused;
}

static int make_operation(lua_State *lua)
{
    operation_job *job = lua_touserdata(lua, 1);
    if (asked(lua, job, "operation")) cg_script_read_source(lua, &job->source, &job->text);
    return 0;
}

static int make_shown(lua_State *lua)
{
    operation_job *job = lua_touserdata(lua, 1);
    size_t length;
    if (!asked(lua, job, "operation_show")) return 0;
    const char *text = luaL_checklstring(lua, -1, &length);
    cg_buffer_add(&job->text, text, length);
    return 0;
}

static cg_status settled(cg_status status, operation_job *job)
{
    if (!status && job->text.failed) status = cg_fail(CONVGEN_NO_MEMORY, "no memory for what the generator wrote");
    if (!status && job->refused) status = cg_fail(CONVGEN_UNSUPPORTED, "%s", job->why);
    else if (status) snprintf(job->why, CG_WHY, "%s", cg_error_text());
    if (status) cg_buffer_free(&job->text);
    return status;
}

cg_status cg_script_show_operation(cg_script *s, const cg_operation_request *r, const char *stage, cg_buffer *out)
{
    char why[CG_WHY] = "";
    operation_job job = {.request = r, .stage = stage, .why = why};
    cg_status status = settled(cg_script_protect(s, make_shown, &job), &job);
    if (!status) *out = job.text;
    return status;
}

cg_status cg_script_operation(cg_script *s, const cg_operation_request *r, cg_source *out, char why[CG_WHY])
{
    operation_job job = {.request = r, .why = why};
    why[0] = 0;
    *out = (cg_source){0};
    cg_status status = settled(cg_script_protect(s, make_operation, &job), &job);
    if (status) return status;
    *out = job.source;
    out->text = job.text.text;
    out->length = job.text.length;
    return CONVGEN_OK;
}
