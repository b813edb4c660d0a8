/* script.h: what script.c, script_ask.c and script_emit.c share. Nobody else includes it: it names Lua. */
#ifndef CONVGEN_SCRIPT_H
#define CONVGEN_SCRIPT_H

#include "generate/generate.h"

#include <lauxlib.h>
#include <lua.h>

/* Runs f(job) in the state, under its lock and its limits. What f allocates outside of Lua stands in the job, since an error
 * leaves f at any call. */
cg_status cg_script_protect(cg_script *s, lua_CFunction f, void *job);
void cg_script_more_work(lua_State *lua); /* the call's count of work begins anew: a part of it is done */
void cg_script_watch(lua_State *lua, bool (*go_on)(void *user), void *user); /* asked in this call now and then; false ends it */
void cg_script_push_function(lua_State *lua, const char *name); /* of gen/convgen.lua */
void cg_script_set_text(lua_State *lua, const char *field, const char *value); /* of the table on top */
void cg_script_set_integer(lua_State *lua, const char *field, int64_t value);
void cg_script_push_problem(lua_State *lua, const convgen_problem *p);
void cg_script_push_machine(lua_State *lua, const cg_machine *m);

/* script_ask.c: what Lua answers, as C. The value's table is on top of the stack. */
lua_Integer cg_script_get_integer(lua_State *lua, const char *field, lua_Integer low, lua_Integer high);
bool cg_script_get_flag(lua_State *lua, const char *field);
void cg_script_get_text(lua_State *lua, const char *field, char *to, size_t size); /* without zeros, at most size - 1 bytes */
int cg_script_length(lua_State *lua, const char *what, lua_Integer most);         /* of the array on top */
void cg_script_push_entry(lua_State *lua, const char *what, int i);               /* entry i, from 0, which must be a table */
void cg_script_copy_why(lua_State *lua, int index, char why[CG_WHY]);
/* packed, shared, chains, stages of a source; its text goes to a buffer. */
void cg_script_read_source(lua_State *lua, cg_source *out, cg_buffer *text);

/* script_network.c: an operation, with its views, and back: {op, views, attributes} as gen/network/kernels.lua has them. */
void cg_script_push_operation(lua_State *lua, const cg_operation *o);
void cg_script_read_operation(lua_State *lua, cg_operation *o);
void cg_script_read_view(lua_State *lua, cg_view *v); /* of the table on top */

#endif
