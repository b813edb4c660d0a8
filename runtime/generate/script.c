/* script.c: the generator's Lua state. This file, script_ask.c and script_emit.c alone see lua.h.
 *
 * One state with its lock: any thread may call. It has base, table, string, math and utf8 only, no file and no way to load code
 * but our `require`; each call has a limit of memory and one of work, which is counted in Lua's instructions, so that a slow or busy
 * machine refuses nothing that another one takes. (What string and table functions do in one call is bounded by the memory.) Counting
 * makes each instruction take nearly twice as long: it begins where a call has allocated more often than usual ones do. Limit: until then
 * a loop that allocates nothing is not seen; only a generator from a folder is counted from its first instruction on.
 * An error in Lua is CONVGEN_INTERNAL with Lua's message, lack of memory CONVGEN_NO_MEMORY; what is beyond a limit CONVGEN_UNSUPPORTED: a
 * schedule that takes it is refused. What is asked and answered is script_ask.c's. */
#define _GNU_SOURCE
#include "generate/generate.h"
#include "script.h"

#include <lualib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEMORY_LIMIT = 512 << 20,  /* bytes of the Lua state */
    HOOK_EVERY = 1000000,      /* instructions between looks at the count and for a stop */
    GARBAGE = 800,             /* per cent of what is in use that the state grows to before garbage is looked for */
    FILE_LIMIT = 4 << 20       /* bytes of a generator's file read from $CONVGEN_GEN_DIR */
};

/* Measured: a list takes 1 to 50, 350 where images have 8,000 rows and columns, a source at most 104. */
int cg_script_limit = 1000;
long cg_script_uncounted = 400000; /* about ten million instructions: no usual source is counted */
static const char GAVE_UP[] = "the generator gave up after %d million steps", TOO_LARGE[] = "the generator gave up at %d MB of its memory";

/* Made by tools/embed.c, sorted by name: "gen/program.lua" is bytecode, "templates/vec.h.in" text. */
extern const struct cg_embedded {
    const char *name;
    const unsigned char *data;
    size_t size;
} cg_embedded[];
extern const size_t cg_embedded_count;

struct cg_script {
    lua_State *lua;
    pthread_mutex_t lock;
    cg_arena arena; /* all that Lua has */
    size_t used;
    long uncounted; /* allocations that are left before instructions are counted */
    int work, all_work; /* million instructions: of this call, or of a part of it; of parts that are done */
    bool too_large;  /* the last allocation was refused for the limit, and not for want of memory */
    bool gave_up;    /* beyond the limit, and nobody has taken that for an answer yet */
    bool (*go_on)(void *user); /* of this call; NULL: nobody is asked */
    void *user;
    bool stopped; /* go_on said so */
    char *folder;   /* $CONVGEN_GEN_DIR, or NULL */
    cg_buffer file; /* the last file read from there */
};

/* Lua's copy in the shared library reads these: it is not compiled to read the C library's there. */
FILE *cg_stdin, *cg_stdout, *cg_stderr;

/* ---- the state's limits ---- */

static void look_around(lua_State *lua, lua_Debug *where);

/* Lua allows it at any time. */
static void count_work(cg_script *s) { lua_sethook(s->lua, look_around, LUA_MASKCOUNT, HOOK_EVERY); }

static void *allocate(void *user, void *old, size_t old_size, size_t size)
{
    cg_script *s = user;
    if (!old)
        old_size = 0; /* then it is a kind of object */
    if (!size) {
        cg_arena_free(&s->arena, old, old_size);
        s->used -= old_size;
        return NULL;
    }
    bool shrinks = old && size <= old_size;
    s->too_large = !shrinks && size - old_size > MEMORY_LIMIT - s->used;
    if (s->too_large) return NULL;
    if (s->uncounted && !--s->uncounted) count_work(s);
    void *p = cg_arena_resize(&s->arena, old, old_size, size);
    if (!p) {
        if (!shrinks) return NULL;
        p = old; /* Lua relies on it that a shrink never fails */
    }
    s->used += size - old_size;
    return p;
}

static cg_script *script_of(lua_State *lua)
{
    return *(cg_script **)lua_getextraspace(lua);
}

static void look_around(lua_State *lua, lua_Debug *where)
{
    cg_script *s = script_of(lua);
    (void)where;
    s->work++;
    s->stopped = s->stopped || cg_late() || (s->go_on && !s->go_on(s->user));
    s->gave_up = s->work > cg_script_limit;
    if (!s->stopped && !s->gave_up) return;
    lua_sethook(lua, look_around, LUA_MASKCOUNT, 1); /* at once again, where a pcall has caught this */
    if (s->stopped) lua_pushliteral(lua, "stopped");
    else lua_pushfstring(lua, GAVE_UP, cg_script_limit);
    lua_error(lua);
}

/* The text: caught and thrown again on its way. */
static bool is_lack_of_memory(lua_State *lua, int error)
{
    return error == LUA_ERRMEM || (lua_type(lua, -1) == LUA_TSTRING && !strcmp(lua_tostring(lua, -1), "not enough memory"));
}

/* bounded(f, ...): what f gives; nil and a sentence when it takes more work than one call may. A part of a call that has the limit for
 * itself, and whose giving up is an answer. */
static int bounded(lua_State *lua)
{
    cg_script *s = script_of(lua);
    int before = s->work;
    s->work = 0;
    int error = lua_pcall(lua, lua_gettop(lua) - 1, LUA_MULTRET, 0);
    s->all_work += s->gave_up ? cg_script_limit : s->work;
    s->work = before;
    if (!error) return lua_gettop(lua);
    bool memory = is_lack_of_memory(lua, error) && s->too_large;
    if (s->stopped || !(s->gave_up || memory)) return lua_error(lua);
    if (memory) lua_pushfstring(lua, TOO_LARGE, MEMORY_LIMIT >> 20);
    s->gave_up = false;
    count_work(s);
    lua_pushnil(lua);
    lua_insert(lua, -2);
    return 2; /* nil, and what is on top: the sentence */
}

void cg_script_watch(lua_State *lua, bool (*go_on)(void *user), void *user)
{
    script_of(lua)->go_on = go_on;
    script_of(lua)->user = user;
}

void cg_script_more_work(lua_State *lua)
{
    cg_script *s = script_of(lua);
    s->all_work += s->work;
    s->work = 0;
}

int cg_script_work(const cg_script *s) { return s->all_work + s->work; }

/* ---- the generator's files ---- */

static int compare_name(const void *name, const void *row)
{
    return strcmp(name, ((const struct cg_embedded *)row)->name);
}

static const struct cg_embedded *find_embedded(const char *name)
{
    return bsearch(name, cg_embedded, cg_embedded_count, sizeof *cg_embedded, compare_name);
}

/* Lower case words and a dot or slash between them: no way out of the folder. */
static bool is_file_name(const char *name)
{
    return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_./") == strlen(name) && name[0] != '/' &&
           !strstr(name, "..") && strlen(name) < 64;
}

/* Pushes the text of a file below $CONVGEN_GEN_DIR. It passes through the script, since an error of Lua's leaves at any call. */
static void push_file(lua_State *lua, const char *name)
{
    cg_script *s = script_of(lua);
    const char *path = lua_pushfstring(lua, "%s/%s", s->folder, name);
    cg_buffer_free(&s->file);
    if (cg_read_file(path, FILE_LIMIT, &s->file)) luaL_error(lua, "%s", cg_error_text());
    lua_pushlstring(lua, s->file.text, s->file.length);
    lua_remove(lua, -2);
}

/* template_text(name): the text of templates/NAME. */
static int template_text(lua_State *lua)
{
    const char *name = luaL_checkstring(lua, 1);
    if (!is_file_name(name)) return luaL_error(lua, "no template is called '%s'", name);
    name = lua_pushfstring(lua, "templates/%s", name);
    if (script_of(lua)->folder) {
        push_file(lua, name);
        return 1;
    }
    const struct cg_embedded *file = find_embedded(name);
    if (!file) return luaL_error(lua, "no file %s in the generator", name);
    lua_pushlstring(lua, (const char *)file->data, file->size);
    return 1;
}

/* Loads the module's chunk and runs it: argument 1 is its name, the result its table. */
static int run_module(lua_State *lua)
{
    const char *name = lua_pushfstring(lua, "gen/%s.lua", lua_tostring(lua, 1));
    const char *chunk = lua_pushfstring(lua, "@%s", name);
    const struct cg_embedded *file = NULL;
    int status;
    if (script_of(lua)->folder) {
        push_file(lua, name);
        size_t size;
        const char *text = lua_tolstring(lua, -1, &size);
        status = luaL_loadbufferx(lua, text, size, chunk, "t");
    } else {
        if (!(file = find_embedded(name))) return luaL_error(lua, "no file %s in the generator", name);
        status = luaL_loadbufferx(lua, (const char *)file->data, file->size, chunk, "b");
    }
    if (status) return lua_error(lua);
    lua_call(lua, 0, 1);
    if (!lua_istable(lua, -1)) return luaL_error(lua, "%s does not return a table", name);
    return 1;
}

/* __index of a module that is not loaded: loads it, and is replaced by its table. Upvalue 1: its name. "loading" is taken back when that
 * fails, since it may only have been memory that lacked. */
static int load_module(lua_State *lua)
{
    const char *name = lua_tostring(lua, lua_upvalueindex(1));
    lua_settop(lua, 2);
    lua_getmetatable(lua, 1);
    if (lua_getfield(lua, 3, "loading"), lua_toboolean(lua, -1)) return luaL_error(lua, "gen/%s.lua requires itself", name);
    lua_pushboolean(lua, 1);
    lua_setfield(lua, 3, "loading"); /* the key is there: no allocation, here and below */
    lua_pushcfunction(lua, run_module);
    lua_pushvalue(lua, lua_upvalueindex(1));
    int error = lua_pcall(lua, 1, 1, 0);
    lua_pushboolean(lua, 0);
    lua_setfield(lua, 3, "loading");
    if (error) return lua_error(lua);
    if (lua_rawequal(lua, -1, 1)) return luaL_error(lua, "gen/%s.lua requires itself", name);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, 3, "__index");
    lua_pushvalue(lua, 2);
    lua_gettable(lua, -2);
    return 1;
}

/* __pairs: of the table that it stands for. */
static int module_pairs(lua_State *lua)
{
    lua_getfield(lua, 1, ""); /* loads it */
    lua_getglobal(lua, "next");
    luaL_getmetafield(lua, 1, "__index");
    return 2;
}

/* require(name): stands for the table that gen/NAME.lua gives, which is run when something is first asked of it: a kernel that is
 * remembered takes a small part of the generator. Upvalue 1: what was given by name. */
static int require(lua_State *lua)
{
    const char *module = luaL_checkstring(lua, 1);
    if (lua_getfield(lua, lua_upvalueindex(1), module) == LUA_TTABLE) return 1;
    if (!is_file_name(module)) return luaL_error(lua, "no module is called '%s'", module);
    lua_newtable(lua);
    lua_createtable(lua, 0, 3);
    lua_pushboolean(lua, 0);
    lua_setfield(lua, -2, "loading");
    lua_pushcfunction(lua, module_pairs);
    lua_setfield(lua, -2, "__pairs");
    lua_pushvalue(lua, 1);
    lua_pushcclosure(lua, load_module, 1);
    lua_setfield(lua, -2, "__index");
    lua_setmetatable(lua, -2);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, lua_upvalueindex(1), module);
    return 1;
}

/* ---- protected calls ---- */

static cg_status failed(cg_script *s, int error)
{
    const char *text = lua_type(s->lua, -1) == LUA_TSTRING ? lua_tostring(s->lua, -1) : "an error without a message";
    if (is_lack_of_memory(s->lua, error))
        return s->too_large ? cg_fail(CONVGEN_UNSUPPORTED, TOO_LARGE, MEMORY_LIMIT >> 20) : cg_fail(CONVGEN_NO_MEMORY, "no memory for the generator");
    if (s->stopped) return cg_fail(CONVGEN_CANCELLED, "stopped");
    if (s->gave_up) return cg_fail(CONVGEN_UNSUPPORTED, GAVE_UP, cg_script_limit);
    return cg_fail(CONVGEN_INTERNAL, "the generator failed: %s", text);
}

/* Runs f(job) in the state. What f allocates outside of Lua stands in the job, since an error leaves f at any call. */
cg_status cg_script_protect(cg_script *s, lua_CFunction f, void *job)
{
    pthread_mutex_lock(&s->lock);
    void *locale = cg_locale_enter(); /* Lua writes numbers with printf */
    s->work = s->all_work = 0;
    s->go_on = NULL;
    s->stopped = s->gave_up = false;
    s->uncounted = s->folder ? 0 : cg_script_uncounted;
    if (s->uncounted) lua_sethook(s->lua, NULL, 0, 0);
    else count_work(s);
    lua_pushcfunction(s->lua, f);
    lua_pushlightuserdata(s->lua, job);
    int error = lua_pcall(s->lua, 1, 0, 0);
    cg_status status = error ? failed(s, error) : CONVGEN_OK;
    lua_settop(s->lua, 0);
    cg_locale_leave(locale);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* Pushes gen/convgen.lua's function of that name. */
void cg_script_push_function(lua_State *lua, const char *name)
{
    lua_getglobal(lua, "require");
    lua_pushliteral(lua, "convgen");
    lua_call(lua, 1, 1);
    if (lua_getfield(lua, -1, name) != LUA_TFUNCTION) luaL_error(lua, "gen/convgen.lua has no function %s", name);
    lua_remove(lua, -2);
}

/* ---- making the state ---- */

static int open_state(lua_State *lua)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},         {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
        {LUA_MATHLIBNAME, luaopen_math},   {LUA_UTF8LIBNAME, luaopen_utf8},
    };
    static const char *const withheld[] = {"dofile", "loadfile", "load", "print", "warn"};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
        lua_pop(lua, 1);
    }
    for (size_t i = 0; i < sizeof withheld / sizeof *withheld; i++) {
        lua_pushnil(lua);
        lua_setglobal(lua, withheld[i]);
    }
    lua_newtable(lua);
    lua_pushcclosure(lua, require, 1);
    lua_setglobal(lua, "require");
    lua_register(lua, "template_text", template_text);
    lua_register(lua, "bounded", bounded);
    return 0;
}

static cg_status new_failed(cg_script *s)
{
    cg_script_free(s);
    return cg_fail(CONVGEN_NO_MEMORY, "no memory for the generator");
}

cg_status cg_script_new(cg_script **out)
{
    const char *folder = secure_getenv("CONVGEN_GEN_DIR");
    *out = NULL;
    cg_stdin = stdin, cg_stdout = stdout, cg_stderr = stderr;
    cg_script *s = cg_calloc(1, sizeof *s);
    if (!s) return cg_fail(CONVGEN_NO_MEMORY, "no memory for the generator");
    pthread_mutex_init(&s->lock, NULL);
    if (folder && *folder && !(s->folder = cg_strdup(folder))) return new_failed(s);
    s->lua = lua_newstate(allocate, s);
    if (!s->lua) return new_failed(s);
    *(cg_script **)lua_getextraspace(s->lua) = s;
    lua_gc(s->lua, LUA_GCINC, GARBAGE, 0, 0);
    cg_status status = cg_script_protect(s, open_state, NULL);
    if (status) cg_script_free(s);
    else *out = s;
    return status;
}

void cg_script_free(cg_script *s)
{
    if (!s) return;
    cg_arena_end(&s->arena); /* nothing of the state has anything beside memory, so it need not be closed */
    pthread_mutex_destroy(&s->lock);
    cg_buffer_free(&s->file);
    cg_free(s->folder);
    cg_free(s);
}
