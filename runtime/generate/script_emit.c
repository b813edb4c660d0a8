/* script_emit.c: asks the generator for the files of a network, and hands each one on as it comes.
 *
 * So no more than one file is in memory, and the limit of work is of one file. */
#include "script.h"
#include <math.h>
#include <string.h>

typedef struct emit_job {
    const cg_network *network;
    cg_emit_put *put;
    bool (*go_on)(void *user);
    void *user;
    cg_status status; /* put's, or what the generator refused */
    char why[CG_WHY];
} emit_job;

static void set_measured(lua_State *lua, const char *field, double value)
{
    if (!isfinite(value)) return;
    lua_pushnumber(lua, value);
    lua_setfield(lua, -2, field);
}

static void push_kernel(lua_State *lua, const cg_emit_kernel *k)
{
    lua_createtable(lua, 0, 8);
    cg_script_set_text(lua, "schedule", k->schedule);
    cg_script_set_text(lua, "from", k->from);
    set_measured(lua, "normwise", k->error_normwise);
    set_measured(lua, "vs_loop", k->error_vs_loop);
    set_measured(lua, "vs_bound", k->error_vs_bound);
}

static void push_layer(lua_State *lua, const cg_emit_layer *l, int targets)
{
    lua_createtable(lua, 0, 8);
    cg_script_set_text(lua, "name", l->name);
    cg_script_set_integer(lua, "threads", l->threads > 0 ? l->threads : 1);
    cg_script_set_integer(lua, "multiplicity", l->multiplicity);
    cg_script_push_problem(lua, l->problem);
    lua_setfield(lua, -2, "problem");
    lua_createtable(lua, targets, 0);
    for (int i = 0; i < targets; i++) {
        push_kernel(lua, &l->kernel[i]);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "kernels");
}

static void push_whole(lua_State *lua, const cg_emit_whole *w)
{
    lua_createtable(lua, 0, 8);
    lua_pushlstring(lua, w->text, w->length);
    lua_setfield(lua, -2, "text");
    cg_script_set_text(lua, "name", w->name);
    cg_script_set_integer(lua, "bytes", w->weights_bytes);
    cg_script_set_integer(lua, "hash", w->hash);
    lua_pushboolean(lua, w->embed);
    lua_setfield(lua, -2, "embed");
    lua_createtable(lua, w->count, 0);
    for (int i = 0; i < w->count; i++) {
        lua_pushinteger(lua, w->layer_of[i] + 1);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "layer_of");
}

static void push_network(lua_State *lua, const cg_network *n)
{
    lua_createtable(lua, 0, 12);
    cg_script_set_text(lua, "key", n->machine->key);
    lua_pushboolean(lua, n->elsewhere);
    lua_setfield(lua, -2, "elsewhere");
    cg_script_set_text(lua, "prefix", n->prefix);
    cg_script_set_text(lua, "form", n->form);
    cg_script_set_text(lua, "version", CONVGEN_VERSION);
    lua_pushboolean(lua, n->openmp);
    lua_setfield(lua, -2, "openmp");
    cg_script_push_machine(lua, n->machine);
    lua_setfield(lua, -2, "machine");
    lua_createtable(lua, n->target_count, 0);
    for (int i = 0; i < n->target_count; i++) {
        lua_pushstring(lua, n->target[i]);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "targets");
    lua_createtable(lua, n->layer_count, 0);
    for (int i = 0; i < n->layer_count; i++) {
        push_layer(lua, &n->layer[i], n->target_count);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "layers");
    if (n->whole) {
        push_whole(lua, n->whole);
        lua_setfield(lua, -2, "net");
    }
}

/* put(name, text), for the generator. Upvalue: the job. */
static int put_file(lua_State *lua)
{
    emit_job *job = lua_touserdata(lua, lua_upvalueindex(1));
    size_t length;
    const char *name = luaL_checkstring(lua, 1), *text = luaL_checklstring(lua, 2, &length);
    if (!*name || strchr(name, '/') || name[0] == '.') return luaL_error(lua, "'%s' is no name of an emitted file", name);
    job->status = job->put(job->user, name, text, length);
    if (job->status) {
        snprintf(job->why, sizeof job->why, "%s", cg_error_text());
        return luaL_error(lua, "%s", job->why);
    }
    cg_script_more_work(lua);
    return 0;
}

static int emit(lua_State *lua)
{
    emit_job *job = lua_touserdata(lua, 1);
    cg_script_watch(lua, job->go_on, job->user);
    cg_script_push_function(lua, "emit");
    push_network(lua, job->network);
    lua_pushlightuserdata(lua, job);
    lua_pushcclosure(lua, put_file, 1);
    lua_call(lua, 2, 2);
    if (lua_toboolean(lua, -2)) return 0;
    snprintf(job->why, sizeof job->why, "%s", luaL_tolstring(lua, -1, NULL));
    job->status = CONVGEN_UNSUPPORTED;
    return 0;
}

cg_status cg_script_emit(cg_script *s, const cg_network *n, cg_emit_put *put, bool (*go_on)(void *user), void *user)
{
    emit_job job = {.network = n, .put = put, .go_on = go_on, .user = user};
    cg_status status = cg_script_protect(s, emit, &job);
    if (job.why[0]) return cg_fail(job.status, "%s", job.why);
    return status;
}
