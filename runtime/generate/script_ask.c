/* script_ask.c: asks the generator for targets, schedules, sources and views.
 *
 * Problems and machines become tables; whatever is answered is checked before it is believed. */
#include "script.h"
#include <limits.h>
#include <string.h>

enum { SOURCE_LIMIT = 16 << 20 }; /* bytes of a source, which is what jit.c takes */
#define SIZE_LIMIT (1LL << 46)    /* bytes that a schedule may ask for, tasks that a stage may have */

/* ---- reading what Lua answers: the value's table is on top of the stack ---- */

/* An integer field within [low, high]. */
lua_Integer cg_script_get_integer(lua_State *lua, const char *field, lua_Integer low, lua_Integer high)
{
    int exact;
    lua_getfield(lua, -1, field);
    lua_Integer value = lua_tointegerx(lua, -1, &exact);
    if (!exact || value < low || value > high)
        luaL_error(lua, "gen/convgen.lua: field %s is %s, allowed is %I to %I", field, luaL_tolstring(lua, -1, NULL), low, high);
    lua_pop(lua, 1);
    return value;
}

bool cg_script_get_flag(lua_State *lua, const char *field)
{
    lua_getfield(lua, -1, field);
    bool flag = lua_toboolean(lua, -1);
    lua_pop(lua, 1);
    return flag;
}

/* A text field without zeros of at most size - 1 bytes. */
void cg_script_get_text(lua_State *lua, const char *field, char *to, size_t size)
{
    size_t length = 0;
    lua_getfield(lua, -1, field);
    const char *text = lua_type(lua, -1) == LUA_TSTRING ? lua_tolstring(lua, -1, &length) : NULL;
    if (!text || length >= size || strlen(text) != length)
        luaL_error(lua, "gen/convgen.lua: field %s must be a text of at most %d bytes", field, (int)size - 1);
    memcpy(to, text, length + 1);
    lua_pop(lua, 1);
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"

static void get_letters(lua_State *lua, const char *field, char *to, size_t size, const char *letters)
{
    cg_script_get_text(lua, field, to, size);
    if (!to[0] || strspn(to, letters) != strlen(to))
        luaL_error(lua, "gen/convgen.lua: field %s is '%s', which is not a word of letters, digits and . _ + -", field, to);
}

/* The same for a word that records and symbols can hold. */
static void get_word(lua_State *lua, const char *field, char *to, size_t size) { get_letters(lua, field, to, size, LETTERS); }

/* A schedule's name: words with / between them, which records can hold and symbols cannot. */
static void get_name(lua_State *lua, const char *field, char *to, size_t size) { get_letters(lua, field, to, size, LETTERS "/"); }

/* A reason may be cut. */
void cg_script_copy_why(lua_State *lua, int index, char why[CG_WHY])
{
    const char *text = lua_type(lua, index) == LUA_TSTRING ? lua_tostring(lua, index) : "refused without a reason";
    snprintf(why, CG_WHY, "%s", text);
}

/* The length of the array on top, at most `most`. */
int cg_script_length(lua_State *lua, const char *what, lua_Integer most)
{
    if (!lua_istable(lua, -1)) luaL_error(lua, "gen/convgen.lua: %s must be a table", what);
    lua_Unsigned length = lua_rawlen(lua, -1);
    if (length > (lua_Unsigned)most)
        luaL_error(lua, "gen/convgen.lua: %s has %I entries, allowed are %I", what, (lua_Integer)length, most);
    return (int)length;
}

/* Pushes entry i (from 0) of the array on top; it must be a table. */
void cg_script_push_entry(lua_State *lua, const char *what, int i)
{
    if (lua_rawgeti(lua, -1, i + 1) != LUA_TTABLE)
        luaL_error(lua, "gen/convgen.lua: entry %d of %s must be a table", i + 1, what);
}

/* ---- telling Lua what is asked ---- */

void cg_script_set_integer(lua_State *lua, const char *field, int64_t value)
{
    lua_pushinteger(lua, value);
    lua_setfield(lua, -2, field);
}

void cg_script_set_text(lua_State *lua, const char *field, const char *value)
{
    lua_pushstring(lua, value);
    lua_setfield(lua, -2, field);
}

static void set_bool(lua_State *lua, const char *field, bool value)
{
    lua_pushboolean(lua, value);
    lua_setfield(lua, -2, field);
}

static void set_triple(lua_State *lua, const char *field, const int64_t value[3])
{
    lua_createtable(lua, 3, 0);
    for (int i = 0; i < 3; i++) {
        lua_pushinteger(lua, value[i]);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, field);
}

static void set_epilogue(lua_State *lua, const convgen_epilogue *e)
{
    lua_createtable(lua, 0, 5);
    set_bool(lua, "residual", e->residual);
    set_bool(lua, "residual_last", e->residual_last);
    cg_script_set_text(lua, "activation", cg_activation_word(e->activation));
    lua_pushnumber(lua, e->lo);
    lua_setfield(lua, -2, "lo");
    lua_pushnumber(lua, e->hi);
    lua_setfield(lua, -2, "hi");
    lua_setfield(lua, -2, "epilogue");
}

void cg_script_push_problem(lua_State *lua, const convgen_problem *p)
{
    static const char *const ops[] = {"convolution", "transposed"}, *const passes[] = {"forward", "backward_data", "backward_weights"};
    char text[CG_TEXT];
    if (convgen_problem_format(p, text, sizeof text)) luaL_error(lua, "%s", cg_error_text());
    lua_createtable(lua, 0, 25);
    cg_script_set_text(lua, "op", ops[p->op]);
    cg_script_set_text(lua, "pass", passes[p->pass]);
    cg_script_set_text(lua, "type", cg_type_name(p->type));
    cg_script_set_text(lua, "layout", cg_tag_name(p->layout));
    cg_script_set_text(lua, "accuracy", cg_accuracy_name(p->accuracy));
    cg_script_set_text(lua, "weights", cg_weights_name(p->weights));
    cg_script_set_integer(lua, "batch", p->batch);
    cg_script_set_integer(lua, "groups", p->groups);
    cg_script_set_integer(lua, "ic", p->in_channels);
    cg_script_set_integer(lua, "oc", p->out_channels);
    set_triple(lua, "input", p->in);
    set_triple(lua, "output", p->out);
    set_triple(lua, "kernel", p->kernel);
    set_triple(lua, "stride", p->stride);
    set_triple(lua, "dilation", p->dilation);
    set_triple(lua, "pad", p->pad);
    set_bool(lua, "bias", p->bias);
    cg_script_set_integer(lua, "src_stride", p->src_pixel_stride);
    cg_script_set_integer(lua, "dst_stride", p->dst_pixel_stride);
    set_bool(lua, "accumulate", p->accumulate);
    set_epilogue(lua, &p->epilogue);
    cg_script_set_text(lua, "text", text);
}

/* Those that are known: the target's row has all. */
static void set_rates(lua_State *lua, const double rate[CG_RATES])
{
    lua_createtable(lua, 0, CG_RATES);
    for (int r = 0; r < CG_RATES; r++) {
        if (!(rate[r] > 0)) continue;
        lua_pushnumber(lua, rate[r]);
        lua_setfield(lua, -2, cg_rate_rows[r].name);
    }
    lua_setfield(lua, -2, "rates");
}

void cg_script_push_machine(lua_State *lua, const cg_machine *m)
{
    lua_createtable(lua, 0, 7);
    cg_script_set_integer(lua, "l1d", m->l1d);
    cg_script_set_integer(lua, "l2", m->l2);
    cg_script_set_integer(lua, "l3", m->l3);
    cg_script_set_integer(lua, "line", m->line);
    cg_script_set_integer(lua, "cores", m->cores);
    set_rates(lua, m->rate);
    lua_newtable(lua);
    for (const char *word = m->features; *word;) {
        size_t length = strcspn(word, " ");
        lua_pushlstring(lua, word, length);
        lua_pushboolean(lua, 1);
        lua_rawset(lua, -3);
        word += length + strspn(word + length, " ");
    }
    lua_setfield(lua, -2, "features");
}

static void push_request(lua_State *lua, const cg_request *r)
{
    lua_createtable(lua, 0, 9);
    cg_script_push_problem(lua, r->problem);
    lua_setfield(lua, -2, "problem");
    cg_script_push_machine(lua, r->machine);
    lua_setfield(lua, -2, "machine");
    cg_script_set_text(lua, "target", r->target);
    cg_script_set_text(lua, "form", r->form);
    cg_script_set_integer(lua, "threads", r->threads > 0 ? r->threads : 1);
    if (r->asked) cg_script_set_text(lua, "asked", r->asked);
    set_bool(lua, "steady", r->steady);
    set_bool(lua, "all", r->all);
    set_bool(lua, "unrolls", r->unrolls);
}

/* ---- targets ---- */

typedef struct target_job {
    const cg_machine *machine;
    const char *wanted; /* NULL: the best */
    cg_target *out;
    bool known, found;
    char lacks[CG_WHY], names[CG_WHY]; /* what the wanted one lacks; which there are */
} target_job;

static void append_word(char list[CG_WHY], const char *word)
{
    size_t length = strlen(list);
    snprintf(list + length, CG_WHY - length, "%s%s", length ? ", " : "", word);
}

/* Lists in `lacks` what the machine lacks of the row on top; true when nothing. */
static bool machine_suits(lua_State *lua, const cg_machine *m, char lacks[CG_WHY])
{
    lacks[0] = 0;
    lua_getfield(lua, -1, "needs");
    int count = cg_script_length(lua, "needs", 32);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(lua, -1, i + 1);
        const char *need = luaL_checkstring(lua, -1);
        if (!cg_machine_has(m, need)) append_word(lacks, need);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    return !lacks[0];
}

/* rates of the row on top: all of them. */
static void get_rates(lua_State *lua, double rate[CG_RATES])
{
    lua_getfield(lua, -1, "rates");
    luaL_checktype(lua, -1, LUA_TTABLE);
    for (int r = 0; r < CG_RATES; r++) {
        int number;
        lua_getfield(lua, -1, cg_rate_rows[r].name);
        rate[r] = lua_tonumberx(lua, -1, &number);
        if (!number || rate[r] <= 0) luaL_error(lua, "gen/targets.lua: rate %s must be a number above 0", cg_rate_rows[r].name);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

static void read_target(lua_State *lua, cg_target *row)
{
    get_word(lua, "name", row->name, sizeof row->name);
    cg_script_get_text(lua, "flags", row->flags, sizeof row->flags);
    row->bits = (int)cg_script_get_integer(lua, "bits", 0, 4096);
    row->machine = cg_script_get_flag(lua, "machine");
    get_rates(lua, row->rate);
}

static int choose_target(lua_State *lua)
{
    target_job *job = lua_touserdata(lua, 1);
    cg_script_push_function(lua, "targets");
    lua_call(lua, 0, 1);
    int count = cg_script_length(lua, "targets()", 64);
    for (int i = 0; i < count && !job->known; i++) {
        cg_target row;
        cg_script_push_entry(lua, "targets()", i);
        read_target(lua, &row);
        append_word(job->names, row.name);
        bool suits = !job->machine || machine_suits(lua, job->machine, job->lacks);
        job->known = job->wanted ? !strcmp(job->wanted, row.name) : suits;
        if (job->known && suits) {
            *job->out = row;
            job->found = true;
        }
        lua_pop(lua, 1);
    }
    return 0;
}

const char *cg_form(const cg_target *target, const char *compiler)
{
    return target->machine && !strcmp(compiler, "tcc") ? "machine" : "c";
}

cg_status cg_script_target(cg_script *s, const cg_machine *m, const char *wanted, cg_target *out)
{
    target_job job = {.machine = m, .wanted = wanted && *wanted ? wanted : NULL, .out = out};
    cg_status status = cg_script_protect(s, choose_target, &job);
    if (status || job.found) return status;
    if (job.known)
        return cg_fail(CONVGEN_UNSUPPORTED, "target %.40s needs %s, which this machine lacks", wanted, job.lacks);
    return cg_fail(CONVGEN_UNSUPPORTED, "no target is called %.40s; there are %s", job.wanted ? job.wanted : "\"\"", job.names);
}

/* ---- schedules ---- */

typedef struct schedules_job {
    const cg_request *request;
    cg_schedule_list list;
} schedules_job;

static void read_schedule(lua_State *lua, cg_schedule *out)
{
    get_name(lua, "name", out->name, sizeof out->name);
    get_word(lua, "family", out->family, sizeof out->family);
    get_name(lua, "way", out->way, sizeof out->way);
    out->version = (int)cg_script_get_integer(lua, "version", 0, INT_MAX);
    cg_script_get_text(lua, "arithmetic", out->arithmetic, sizeof out->arithmetic);
    lua_getfield(lua, -1, "cycles");
    out->cycles = lua_tonumber(lua, -1);
    lua_getfield(lua, -2, "why");
    if (lua_toboolean(lua, -1)) cg_script_copy_why(lua, -1, out->why);
    lua_pop(lua, 2);
}

static int list_schedules(lua_State *lua)
{
    schedules_job *job = lua_touserdata(lua, 1);
    cg_script_push_function(lua, "schedules");
    push_request(lua, job->request);
    lua_call(lua, 1, 1);
    int count = cg_script_length(lua, "schedules()", INT_MAX);
    if (count > CG_SCHEDULES && !job->request->all) /* best first: what is cut would not be tried */
        count = CG_SCHEDULES;
    job->list.at = cg_calloc((size_t)count, sizeof *job->list.at);
    if (!job->list.at) return 0;
    for (int i = 0; i < count; i++) {
        cg_script_push_entry(lua, "schedules()", i);
        read_schedule(lua, &job->list.at[i]);
        lua_pop(lua, 1);
    }
    job->list.count = count;
    return 0;
}

cg_status cg_script_schedules(cg_script *s, const cg_request *r, cg_schedule_list *list)
{
    schedules_job job = {.request = r};
    *list = (cg_schedule_list){0};
    cg_status status = cg_script_protect(s, list_schedules, &job);
    if (!status && !job.list.at) status = cg_fail(CONVGEN_NO_MEMORY, "no memory for the list of schedules");
    if (status) cg_free(job.list.at);
    else *list = job.list;
    return status;
}

typedef struct source_job {
    const cg_request *request;
    const char *schedule, *stage; /* stage: of cg_script_show */
    char *why;
    bool refused;
    cg_source source;
    cg_buffer text;
    char family[16]; /* of cg_script_admits */
} source_job;

/* After a call that answers nil, why. */
static bool was_refused(lua_State *lua, source_job *job)
{
    if (lua_toboolean(lua, -2)) {
        lua_pop(lua, 1);
        return false;
    }
    cg_script_copy_why(lua, -1, job->why);
    job->refused = true;
    return true;
}

/* What a call with a text as its answer comes to; `text` is the caller's only when this is CONVGEN_OK. */
static cg_status settle(cg_status status, source_job *job)
{
    if (!status && job->text.failed) status = cg_fail(CONVGEN_NO_MEMORY, "no memory for what the generator wrote");
    if (!status && job->refused) status = cg_fail(CONVGEN_UNSUPPORTED, "%s", job->why);
    else if (status) snprintf(job->why, CG_WHY, "%s", cg_error_text());
    if (status) cg_buffer_free(&job->text);
    return status;
}

static int ask_admission(lua_State *lua)
{
    source_job *job = lua_touserdata(lua, 1);
    cg_script_push_function(lua, "admits");
    push_request(lua, job->request);
    lua_pushstring(lua, job->schedule);
    lua_call(lua, 2, 2);
    if (was_refused(lua, job)) return 0;
    luaL_checktype(lua, -1, LUA_TTABLE);
    get_word(lua, "family", job->family, sizeof job->family);
    job->source.chains = (int)cg_script_get_integer(lua, "chains", 0, 64);
    return 0;
}

cg_status cg_script_admits(cg_script *s, const cg_request *r, const char *schedule, char family[16], int *chains,
                           char why[CG_WHY])
{
    source_job job = {.request = r, .schedule = schedule, .why = why};
    why[0] = 0;
    cg_status status = settle(cg_script_protect(s, ask_admission, &job), &job);
    memcpy(family, job.family, sizeof job.family);
    *chains = job.source.chains;
    return status;
}

typedef struct version_job {
    const char *family;
    int version;
    bool known;
} version_job;

static int ask_version(lua_State *lua)
{
    version_job *job = lua_touserdata(lua, 1);
    cg_script_push_function(lua, "version");
    lua_pushstring(lua, job->family);
    lua_call(lua, 1, 1);
    int exact;
    lua_Integer version = lua_tointegerx(lua, -1, &exact);
    job->known = exact && version >= 0 && version <= INT_MAX;
    job->version = job->known ? (int)version : 0;
    return 0;
}

cg_status cg_script_family_version(cg_script *s, const char *family, int *version)
{
    version_job job = {.family = family};
    cg_status status = cg_script_protect(s, ask_version, &job);
    if (!status && !job.known) return cg_fail(CONVGEN_UNSUPPORTED, "no family of schedules is called %.40s", family);
    *version = job.version;
    return status;
}

static int ask_generator(lua_State *lua)
{
    lua_createtable(lua, 0, 1);
    cg_script_push_function(lua, "generator");
    lua_call(lua, 0, 1);
    lua_setfield(lua, -2, "generator");
    get_word(lua, "generator", lua_touserdata(lua, 1), CG_NAME);
    return 0;
}

cg_status cg_script_generator(cg_script *s, char versions[CG_NAME])
{
    return cg_script_protect(s, ask_generator, versions);
}

/* ---- source ---- */

/* Of more than there is room for, none are known. */
static void read_ends(lua_State *lua, cg_stage *out)
{
    lua_getfield(lua, -1, "ends");
    int count = lua_istable(lua, -1) ? cg_script_length(lua, "ends", INT_MAX) : 0;
    for (int i = 0; i < count && count <= CG_ENDS; i++) {
        lua_rawgeti(lua, -1, i + 1);
        out->end[i] = (long)lua_tointeger(lua, -1);
        if (out->end[i] < 0 || out->end[i] >= out->tasks) luaL_error(lua, "gen/convgen.lua: a stage's end is none of its tasks");
        lua_pop(lua, 1);
    }
    out->ends = count <= CG_ENDS ? count : 0;
    lua_pop(lua, 1);
}

static void read_stage(lua_State *lua, cg_stage *out)
{
    get_word(lua, "name", out->name, sizeof out->name);
    get_word(lua, "symbol", out->symbol, sizeof out->symbol);
    out->tasks = (long)cg_script_get_integer(lua, "tasks", 0, SIZE_LIMIT);
    out->scratch = (size_t)cg_script_get_integer(lua, "scratch", 0, SIZE_LIMIT);
    out->pack = cg_script_get_flag(lua, "pack");
    out->shares = cg_script_get_flag(lua, "shares");
    out->once = cg_script_get_flag(lua, "once");
    read_ends(lua, out);
}

/* Copies the text on top, which may be of `limit` bytes and hold no zeros. */
static void take_text(lua_State *lua, const char *what, size_t limit, cg_buffer *out)
{
    size_t length = 0;
    const char *text = lua_type(lua, -1) == LUA_TSTRING ? lua_tolstring(lua, -1, &length) : NULL;
    if (!text || length > limit || memchr(text, 0, length))
        luaL_error(lua, "gen/convgen.lua: %s must be a text of at most %d bytes", what, (int)limit);
    cg_buffer_add(out, text, length);
    lua_pop(lua, 1);
}

/* How far what a transform mixes reaches; verify holds it to that. */
static void read_tile(lua_State *lua, int64_t tile[3])
{
    lua_getfield(lua, -1, "tile");
    bool good = lua_istable(lua, -1);
    for (int i = 0; i < 3 && good; i++) {
        lua_rawgeti(lua, -1, i + 1);
        tile[i] = lua_tointeger(lua, -1);
        good = tile[i] >= 1 && tile[i] <= CG_MOST;
        lua_pop(lua, 1);
    }
    if (!good) luaL_error(lua, "gen/convgen.lua: tile of a transforming family must be three sizes of at least 1");
    lua_pop(lua, 1);
}

void cg_script_read_source(lua_State *lua, cg_source *out, cg_buffer *text)
{
    luaL_checktype(lua, -1, LUA_TTABLE);
    lua_getfield(lua, -1, "text");
    take_text(lua, "text of source()", SOURCE_LIMIT, text);
    out->packed = (size_t)cg_script_get_integer(lua, "packed", 0, SIZE_LIMIT);
    out->shared = (size_t)cg_script_get_integer(lua, "shared", 0, SIZE_LIMIT);
    out->chains = (int)cg_script_get_integer(lua, "chains", 0, 64);
    if (!out->chains) read_tile(lua, out->tile);
    lua_getfield(lua, -1, "stages");
    out->stage_count = cg_script_length(lua, "stages", CG_STAGES);
    for (int i = 0; i < out->stage_count; i++) {
        cg_script_push_entry(lua, "stages", i);
        read_stage(lua, &out->stage[i]);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

static int make_source(lua_State *lua)
{
    source_job *job = lua_touserdata(lua, 1);
    cg_script_push_function(lua, "source");
    push_request(lua, job->request);
    lua_pushstring(lua, job->schedule);
    lua_call(lua, 2, 2);
    if (!was_refused(lua, job)) cg_script_read_source(lua, &job->source, &job->text);
    return 0;
}

cg_status cg_script_source(cg_script *s, const cg_request *r, const char *schedule, cg_source *out, char why[CG_WHY])
{
    source_job job = {.request = r, .schedule = schedule, .why = why};
    why[0] = 0;
    *out = (cg_source){0};
    cg_status status = settle(cg_script_protect(s, make_source, &job), &job);
    if (status) return status;
    *out = job.source;
    out->text = job.text.text;
    out->length = job.text.length;
    return CONVGEN_OK;
}

void cg_source_free(cg_source *source)
{
    cg_free(source->text);
    *source = (cg_source){0};
}

static int make_show(lua_State *lua)
{
    source_job *job = lua_touserdata(lua, 1);
    cg_script_push_function(lua, "show");
    push_request(lua, job->request);
    lua_pushstring(lua, job->schedule); /* NULL is nil */
    lua_pushstring(lua, job->stage);
    lua_call(lua, 3, 2);
    if (!was_refused(lua, job)) take_text(lua, "what show() gives", SOURCE_LIMIT, &job->text);
    return 0;
}

cg_status cg_script_show(cg_script *s, const cg_request *r, const char *schedule, const char *stage, cg_buffer *out)
{
    char why[CG_WHY] = "";
    source_job job = {.request = r, .schedule = schedule, .stage = stage, .why = why};
    cg_status status = settle(cg_script_protect(s, make_show, &job), &job);
    if (status) return job.refused && schedule && !strstr(why, schedule) ? cg_fail_at(status, schedule) : status;
    cg_buffer_add(out, job.text.text, job.text.length);
    cg_buffer_free(&job.text);
    return out->failed ? cg_fail(CONVGEN_NO_MEMORY, "no memory for what the generator wrote") : CONVGEN_OK;
}
