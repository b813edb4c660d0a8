/* embed.c: build-time program: embed OUT.c FACTS_DIR SOURCE_DIR FILE...
 *
 * Writes one C file that holds gen's Lua modules as bytecode (with line numbers, for messages) and the templates as text,
 * sorted by name, as the table that runtime/generate/script.c reads. A file that does not compile stops the build with its message.
 * What goes to FACTS_DIR is tools/facts.lua's. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *out;
static long written;

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "embed: %s: %s\n", what, why);
    exit(1);
}

static void put_bytes(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%d,%s", ((const unsigned char *)bytes)[i], ++written % 32 ? "" : "\n");
}

static int put_chunk(lua_State *lua, const void *bytes, size_t size, void *user)
{
    (void)lua, (void)user;
    put_bytes(bytes, size);
    return 0;
}

static char *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        stop(path, "cannot be read");
    fseek(file, 0, SEEK_END);
    long end = ftell(file);
    rewind(file);
    char *text = malloc((size_t)end + 1);
    if (!text || fread(text, 1, (size_t)end, file) != (size_t)end)
        stop(path, "cannot be read");
    fclose(file);
    *size = (size_t)end;
    return text;
}

static int is_lua(const char *name)
{
    size_t length = strlen(name);
    return length > 4 && !strcmp(name + length - 4, ".lua");
}

static long put_file(const char *folder, const char *name)
{
    char path[4096], chunk[512];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(chunk, sizeof chunk, "@%s", name);
    char *text = read_whole(path, &size);
    written = 0;
    if (is_lua(name)) {
        lua_State *lua = luaL_newstate();
        if (!lua || luaL_loadbufferx(lua, text, size, chunk, "t"))
            stop(name, lua ? lua_tostring(lua, -1) : "no memory");
        lua_dump(lua, put_chunk, NULL, 0);
        lua_close(lua);
    } else {
        put_bytes(text, size);
    }
    free(text);
    return written;
}

static void put_facts(const char *folder, const char *facts)
{
    char script[4096];
    lua_State *lua = luaL_newstate();
    if (!lua)
        stop(facts, "no memory");
    luaL_openlibs(lua);
    snprintf(script, sizeof script, "%s/tools/facts.lua", folder);
    int wrong = luaL_loadfile(lua, script);
    lua_pushstring(lua, folder);
    lua_pushstring(lua, facts);
    if (wrong || lua_pcall(lua, 2, 0, 0))
        stop(script, wrong ? "does not compile" : lua_tostring(lua, -1));
    lua_close(lua);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
    int count = argc - 4;
    if (count < 0 || !(out = fopen(argv[1], "w")))
        stop("use", "embed OUT.c FACTS_DIR SOURCE_DIR FILE...");
    char **names = argv + 4;
    put_facts(argv[3], argv[2]);
    qsort(names, (size_t)count, sizeof *names, by_name);
    long *sizes = calloc((size_t)count + 1, sizeof *sizes);
    if (!sizes)
        stop("embed", "no memory");
    fputs("/* Made by tools/embed.c: the generator. */\n#include <stddef.h>\n", out);
    for (int i = 0; i < count; i++) {
        fprintf(out, "static const unsigned char file_%d[] = {\n", i);
        sizes[i] = put_file(argv[3], names[i]);
        fputs("0};\n", out); /* never empty, and a text has its end mark */
    }
    fputs("extern const struct cg_embedded { const char *name; const unsigned char *data; size_t size; } cg_embedded[];\n"
          "extern const size_t cg_embedded_count;\nconst struct cg_embedded cg_embedded[] = {\n", out);
    for (int i = 0; i < count; i++)
        fprintf(out, "    {\"%s\", file_%d, %ld},\n", names[i], i, sizes[i]);
    fprintf(out, "    {NULL, NULL, 0}};\nconst size_t cg_embedded_count = %d;\n", count);
    free(sizes);
    if (fclose(out))
        stop(argv[1], "cannot be written");
    return 0;
}
