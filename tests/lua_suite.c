/* lua_suite.c: runs one Lua test file over the sources of the generator.
 *
 *   lua_suite GEN_DIR TEMPLATES_DIR FILE [ARGUMENT...]
 *
 * Unlike in the library, the standard libraries are there (tests write files and start compilers); `require` finds the
 * generator's modules and those beside FILE, template_text reads TEMPLATES_DIR. The file returns how many of its cases
 * failed; that, an error, or nothing at all is a failure. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char prepare[] =
    "local gen, templates, file = arg[1], arg[2], arg[3]\n"
    "package.path = gen .. '/?.lua;' .. (file:match '^(.*)/[^/]*$' or '.') .. '/?.lua'\n"
    "package.cpath = ''\n"
    "function template_text(name)\n"
    "  local f = assert(io.open(templates .. '/' .. name))\n"
    "  local text = f:read 'a'\n"
    "  f:close()\n"
    "  return text\n"
    "end\n"
    "function bounded(f, ...) return f(...) end\n";

static int explain(lua_State *L) {
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void set_arguments(lua_State *L, int argc, char **argv) {
    lua_createtable(L, argc, 0);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
}

/* The failures that the file counted, or -1 after an error. */
static long run(lua_State *L, const char *file) {
    lua_pushcfunction(L, explain);
    if (luaL_loadstring(L, prepare) != LUA_OK || lua_pcall(L, 0, 0, 1) != LUA_OK || luaL_loadfile(L, file) != LUA_OK ||
        lua_pcall(L, 0, 1, 1) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return -1;
    }
    if (!lua_isinteger(L, -1)) {
        fprintf(stderr, "%s: returned no number of failures\n", file);
        return -1;
    }
    return (long)lua_tointeger(L, -1);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s GEN_DIR TEMPLATES_DIR FILE [ARGUMENT...]\n", argv[0]);
        return 2;
    }
    lua_State *L = luaL_newstate();
    if (!L) return 1;
    luaL_openlibs(L);
    set_arguments(L, argc, argv);
    long failures = run(L, argv[3]);
    lua_close(L);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
