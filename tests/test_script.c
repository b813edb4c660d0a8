/* test_script.c: the generator behind its limits: sandbox, memory, time, checked answers, failing allocations. */
#define _GNU_SOURCE
#include "plan.h"
#include "suite.h"

#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static cg_machine machine;
static convgen_problem problem;
static cg_request request = {.problem = &problem, .machine = &machine, .target = "portable", .form = "c", .threads = 1};
static char folder[] = "/tmp/convgen-test-XXXXXX";

/* ---- a generator of our own ---- */

static void write_generator(const char *path, const char *text)
{
    char whole[200];
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    FILE *file = fopen(whole, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void make_folder(void)
{
    char path[200];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    setenv("CONVGEN_GEN_DIR", folder, 1);
    snprintf(path, sizeof path, "%s/gen", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/templates", folder);
    mkdir(path, 0700);
    write_generator("templates/t.in", "text of t");
}

static void remove_folder(void)
{
    static const char *const names[] = {"gen/convgen.lua", "gen/other.lua", "gen", "templates/t.in", "templates", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
}

/* Runs source() of a generator with this body; gives the status, and the source when it is wanted. */
static cg_status source_of(const char *body, cg_source *out, char why[CG_WHY])
{
    char text[4000];
    cg_script *s;
    cg_source source;
    snprintf(text, sizeof text, "local convgen = {}\nfunction convgen.source(request, schedule)\n%s\nend\nreturn convgen\n", body);
    write_generator("gen/convgen.lua", text);
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    cg_status status = cg_script_source(s, &request, "a.b", &source, why);
    cg_script_free(s);
    if (!status && out)
        *out = source;
    else if (!status)
        cg_source_free(&source);
    return status;
}

static void setup(void)
{
    cg_script_uncounted = 0; /* work is looked at */
    cg_machine_detect(&machine);
    ck_assert_int_eq(convgen_problem_parse("--dt=f32 mb1ic3ih6oc4kh3ph1", &problem), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&problem), CONVGEN_OK);
}

static void setup_own(void)
{
    setup();
    make_folder();
}

#define GOOD "text='int x;', packed=64, shared=0, chains=1, stages={{name='compute', symbol='f', tasks=3, scratch=128, pack=false}}"

START_TEST(a_good_answer)
{
    char why[CG_WHY];
    cg_source s;
    ck_assert_msg(source_of("return {" GOOD "}", &s, why) == CONVGEN_OK, "%s", why);
    ck_assert_str_eq(s.text, "int x;");
    ck_assert_uint_eq(s.length, 6);
    ck_assert_uint_eq(s.packed, 64);
    ck_assert_int_eq(s.stage_count, 1);
    ck_assert_str_eq(s.stage[0].symbol, "f");
    ck_assert_int_eq(s.stage[0].tasks, 3);
    ck_assert_uint_eq(s.stage[0].scratch, 128);
    cg_source_free(&s);
    ck_assert_msg(source_of("return {text='', packed=0, shared=0, chains=0, tile={1, 4, 2}, stages={}}", &s, why) == CONVGEN_OK, "%s", why);
    ck_assert(s.chains == 0 && s.tile[0] == 1 && s.tile[1] == 4 && s.tile[2] == 2);
    cg_source_free(&s);
}
END_TEST

START_TEST(the_request_is_told)
{
    char why[CG_WHY];
    machine.rate[CG_RATE_STORE_L3] = 2.5; /* the others are not known */
    cg_status status = source_of(
        "local p = request.problem\n"
        "assert(schedule == 'a.b' and request.target == 'portable' and request.form == 'c' and request.threads == 1)\n"
        "assert(p.pass == 'forward' and p.type == 'f32' and p.layout == 'nhwc' and p.accuracy == 'loop' and p.weights == 'changing')\n"
        "assert(p.batch == 1 and p.groups == 1 and p.ic == 3 and p.oc == 4 and p.bias == true)\n"
        "assert(p.input[1] == 1 and p.input[3] == 6 and p.output[2] == 6 and p.kernel[2] == 3 and p.pad[3] == 1 and #p.stride == 3)\n"
        "assert(p.epilogue.activation == 'none' and p.epilogue.residual == false and type(p.text) == 'string')\n"
        "assert(math.type(p.ic) == 'integer' and request.machine.cores >= 1 and type(request.machine.features) == 'table')\n"
        "assert(request.machine.rates.store_l3 == 2.5 and request.machine.rates.l2 == nil)\n"
        "return {" GOOD "}", NULL, why);
    ck_assert_msg(status == CONVGEN_OK, "%s", why);
}
END_TEST

START_TEST(refused_with_a_reason)
{
    char why[CG_WHY];
    ck_assert_int_eq(source_of("return nil, 'needs 34 registers'", NULL, why), CONVGEN_UNSUPPORTED);
    ck_assert_str_eq(why, "needs 34 registers");
    ck_assert_str_eq(cg_error_text(), why);
}
END_TEST

/* What a generator may do wrong, and what the sentence must name. */
static const struct {
    const char *body, *names;
} wrong[] = {
    {"error 'broken on purpose'", "broken on purpose"},
    {"error {}", "without a message"},
    {"return nothing.field", "gen/convgen.lua:3"},
    {"return 5", "table expected"},
    {"return {text=5, packed=0, shared=0, chains=1, stages={}}", "text"},
    {"return {text='a\\0b', packed=0, shared=0, chains=1, stages={}}", "text"},
    {"return {text=('x'):rep(17 << 20), packed=0, shared=0, chains=1, stages={}}", "text"},
    {"return {text='', packed=-1, shared=0, chains=1, stages={}}", "packed"},
    {"return {text='', packed=0.5, shared=0, chains=1, stages={}}", "packed"},
    {"return {text='', packed=0, shared=1 << 60, chains=1, stages={}}", "shared"},
    {"return {text='', packed=0, shared=0, chains=65, stages={}}", "chains"},
    {"return {text='', packed=0, shared=0, chains=0, stages={}}", "tile"},
    {"return {text='', packed=0, shared=0, chains=0, tile={1, 0, 4}, stages={}}", "tile"},
    {"return {text='', packed=0, shared=0, chains=1, stages=7}", "stages"},
    {"local s = {} for i = 1, 17 do s[i] = {} end return {text='', packed=0, shared=0, chains=1, stages=s}", "stages"},
    {"return {text='', packed=0, shared=0, chains=1, stages={7}}", "stages"},
    {"return {text='', packed=0, shared=0, chains=1, stages={{name=('n'):rep(24), symbol='s', tasks=1, scratch=0}}}", "name"},
    {"return {text='', packed=0, shared=0, chains=1, stages={{name='n', symbol='a b', tasks=1, scratch=0}}}", "symbol"},
    {"return {text='', packed=0, shared=0, chains=1, stages={{name='n', symbol='s', tasks=-1, scratch=0}}}", "tasks"},
    {"return {text='', packed=0, shared=0, chains=1, stages={{name='n', symbol='s', tasks=1}}}", "scratch"},
    {"return {text='', packed=0, shared=0, chains=1, stages={{name='n', symbol='s', tasks=1, scratch=-1}}}", "scratch"},
    {"return setmetatable({}, {__index = function() error 'in a metamethod' end})", "in a metamethod"},
    {"return require 'absent'", "absent"},
    {"return require '../../etc/passwd'", "no module"},
    {"return require '/etc/passwd'", "no module"},
    {"return template_text '../gen/convgen.lua'", "no template"},
    {"local function f() return f() + 1 end return f()", "stack overflow"},
    {"io.open '/etc/passwd'", "io"},
    {"os.exit()", "os"},
    {"load 'return 1'", "load"},
    {"loadfile 'x'", "loadfile"},
    {"dofile 'x'", "dofile"},
    {"print 'x'", "print"},
    {"package.loadlib()", "package"},
    {"debug.getregistry()", "debug"},
    {"coroutine.create()", "coroutine"},
};

START_TEST(wrong_answers)
{
    char why[CG_WHY];
    cg_status status = source_of(wrong[_i].body, NULL, why);
    ck_assert_msg(status == CONVGEN_INTERNAL, "%s: status %d, %s", wrong[_i].body, status, why);
    ck_assert_msg(strstr(why, wrong[_i].names) != NULL, "%s: %s", wrong[_i].body, why);
}
END_TEST

/* The code has to have a function for each stage: it would be called. */
START_TEST(a_stage_without_its_function)
{
    char why[CG_WHY];
    cg_kernel k;
    cg_script *s;
    ck_assert_int_eq(source_of("return {" GOOD "}", NULL, why), CONVGEN_OK);
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    ck_assert_int_eq(cg_kernel_new(s, &request, &(cg_making){"a.b", "tcc", ""}, &k, why), CONVGEN_INTERNAL);
    ck_assert_msg(strstr(why, "no function f") != NULL, "%s", why);
    ck_assert(!k.code && !k.source.text);
    cg_script_free(s);
}
END_TEST

START_TEST(memory_limit)
{
    char why[CG_WHY];
    ck_assert_int_eq(source_of("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1 << 20) .. i end", NULL, why), CONVGEN_UNSUPPORTED);
    ck_assert_str_eq(why, "the generator gave up at 512 MB of its memory");
    ck_assert_int_eq(source_of("return ('x'):rep(1 << 30)", NULL, why), CONVGEN_UNSUPPORTED);
}
END_TEST

START_TEST(a_runaway_is_stopped)
{
    char why[CG_WHY];
    cg_script_limit = 20;
    ck_assert_int_eq(source_of("while true do pcall(function() while true do end end) end", NULL, why), CONVGEN_UNSUPPORTED);
    ck_assert_str_eq(why, "the generator gave up after 20 million steps");
}
END_TEST

/* Parts of a call have a limit each, and their giving up is an answer; what else goes wrong in them does not stop there. */
START_TEST(a_part_may_give_up)
{
    char why[CG_WHY];
    static const char three[] =
        "for i = 1, 3 do local nothing, why = bounded(function(n) while true do n = n + 1 end end, 0)\n"
        "assert(nothing == nil and why == 'the generator gave up after 20 million steps') end\n"
        "local a, b = bounded(function(x) return x, 2 end, 1) assert(a == 1 and b == 2)\n"
        "return {" GOOD "}";
    cg_script_limit = 20;
    ck_assert_msg(source_of(three, NULL, why) == CONVGEN_OK, "%s", why);
    ck_assert_int_eq(source_of("bounded(error, 'broken on purpose')", NULL, why), CONVGEN_INTERNAL);
    ck_assert_msg(strstr(why, "broken on purpose") != NULL, "%s", why);
    static const char large[] = "local a, b = bounded(function() return ('x'):rep(1 << 30) end)\n"
                                "assert(a == nil and b == 'the generator gave up at 512 MB of its memory') return {" GOOD "}";
    ck_assert_msg(source_of(large, NULL, why) == CONVGEN_OK, "%s", why);
}
END_TEST

START_TEST(modules_and_templates)
{
    char why[CG_WHY];
    write_generator("gen/other.lua", "count = (count or 0) + 1 return {value = count}");
    cg_status status = source_of("assert(require 'other'.value == 1 and require 'other'.value == 1)\n"
                                 "assert(template_text 't.in' == 'text of t') return {" GOOD "}", NULL, why);
    ck_assert_msg(status == CONVGEN_OK, "%s", why);
    status = source_of("local n = 0 for k, v in pairs(require 'other') do n = n + 1 assert(k == 'value' and v == 1) end\n"
                       "assert(n == 1) return {" GOOD "}", NULL, why);
    ck_assert_msg(status == CONVGEN_OK, "%s", why);
    status = source_of("local other = require 'other' assert(count == nil and require 'other' == other)\n" /* not run yet */
                       "assert(other.nothing == nil and count == 1) return {" GOOD "}", NULL, why);
    ck_assert_msg(status == CONVGEN_OK, "%s", why);
    write_generator("gen/other.lua", "local other = require 'other' return {value = other.value}");
    ck_assert_int_eq(source_of("return require 'other'", NULL, why), CONVGEN_INTERNAL);
    ck_assert_msg(strstr(why, "requires itself") != NULL, "%s", why);
    write_generator("gen/other.lua", "return require 'other'");
    ck_assert_int_eq(source_of("return require 'other'", NULL, why), CONVGEN_INTERNAL);
    ck_assert_msg(strstr(why, "requires itself") != NULL, "%s", why);
    write_generator("gen/other.lua", "\x1bLua is not text");
    ck_assert_int_eq(source_of("return require 'other'", NULL, why), CONVGEN_INTERNAL);
    ck_assert_msg(strstr(why, "binary") != NULL, "%s", why);
}
END_TEST

START_TEST(numbers_in_any_locale)
{
    char why[CG_WHY];
    if (!comma_locale())
        return;
    cg_status status = source_of("assert(('%.2f'):format(0.5) == '0.50') return {" GOOD "}", NULL, why);
    ck_assert_msg(status == CONVGEN_OK, "%s", why);
}
END_TEST

START_TEST(the_hosts_locale_stays)
{
    char why[CG_WHY];
    locale_t before = uselocale((locale_t)0);
    ck_assert_int_eq(source_of("return {" GOOD "}", NULL, why), CONVGEN_OK);
    ck_assert(uselocale((locale_t)0) == before);
}
END_TEST

/* ---- the generator that is embedded ---- */

START_TEST(targets)
{
    cg_script *s;
    cg_target best, t;
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    ck_assert_msg(cg_script_target(s, &machine, NULL, &best) == CONVGEN_OK, "%s", cg_error_text());
    ck_assert_int_eq(cg_script_target(s, &machine, best.name, &t), CONVGEN_OK);
    ck_assert_int_eq(t.bits, best.bits);
    ck_assert_int_eq(cg_script_target(s, &machine, "portable", &t), CONVGEN_OK);
    ck_assert_int_eq(cg_script_target(s, &machine, "z80", &t), CONVGEN_UNSUPPORTED);
    ck_assert(strstr(cg_error_text(), "z80") && strstr(cg_error_text(), "portable"));
    cg_machine bare = {.line = 64, .cores = 1};
    ck_assert_int_eq(cg_script_target(s, &bare, "", &t), CONVGEN_OK);
    ck_assert_str_eq(t.name, "portable");
    ck_assert_int_eq(cg_script_target(s, &bare, "avx2", &t), CONVGEN_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "needs avx2"));
    cg_script_free(s);
}
END_TEST

/* What is assumed of a machine is something that could have been measured. */
START_TEST(a_target_has_all_rates)
{
    cg_script *s;
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    for (int i = 0; i < 3; i++) {
        cg_target t;
        double rate[CG_RATES];
        ck_assert_int_eq(cg_script_target(s, NULL, ((const char *[]){"avx512", "avx2", "portable"})[i], &t), CONVGEN_OK);
        memcpy(rate, t.rate, sizeof rate);
        cg_rates_check(rate);
        ck_assert(!memcmp(rate, t.rate, sizeof rate));
    }
    cg_script_free(s);
}
END_TEST

/* A machine that lacks one feature of a target does not get it. */
START_TEST(a_target_needs_all_its_features)
{
    static const char *const all[] = {"avx2", "avx512bw", "avx512dq", "avx512f", "avx512vl", "fma"};
    cg_script *s;
    cg_target t;
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    for (int lacks = -1; lacks < 6; lacks++) {
        cg_machine m = {.line = 64, .cores = 1};
        for (int i = 0; i < 6; i++)
            if (i != lacks) strcat(strcat(m.features, *m.features ? " " : ""), all[i]);
        ck_assert_int_eq(cg_script_target(s, &m, NULL, &t), CONVGEN_OK);
        ck_assert_str_eq(t.name, lacks < 0 ? "avx512" : lacks == 0 || lacks == 5 ? "portable" : "avx2");
        if (lacks < 0) continue;
        ck_assert_int_eq(cg_script_target(s, &m, "avx512", &t), CONVGEN_UNSUPPORTED);
        ck_assert_msg(strstr(cg_error_text(), all[lacks]) != NULL, "%s", cg_error_text());
    }
    cg_script_free(s);
}
END_TEST

/* The whole way once; the first status that is not OK. */
static cg_status go_through(void)
{
    cg_script *s = NULL;
    cg_target target;
    cg_schedule_list list = {0};
    cg_source source = {0};
    cg_buffer text = {0};
    char why[CG_WHY];
    int version;
    cg_status status = cg_script_new(&s);
    if (!status && !(status = cg_script_target(s, &machine, "portable", &target)) &&
        !(status = cg_script_schedules(s, &request, &list)) &&
        !(status = cg_script_family_version(s, list.at[0].family, &version)) &&
        !(status = cg_script_source(s, &request, list.at[0].name, &source, why)))
        status = cg_script_show(s, &request, list.at[0].name, "source", &text);
    cg_free(list.at);
    cg_source_free(&source);
    cg_buffer_free(&text);
    cg_script_free(s);
    return status;
}

enum { EVERY = 500 };
START_TEST(every_failing_allocation)
{
    cg_status status = CONVGEN_NO_MEMORY;
    ck_assert_msg(go_through() == CONVGEN_OK, "%s", cg_error_text());
    for (long n = 1; status; n++) { /* every n first, then in growing steps, of which a run is longer */
        cg_fail_allocation = n;
        status = go_through();
        bool all = cg_fail_allocation > 0; /* it ended before the n-th */
        cg_fail_allocation = 0;
        ck_assert_msg(!status || status == CONVGEN_NO_MEMORY, "n = %ld: %s", n, cg_error_text());
        if (!status && !all) /* Lua collected its garbage and went on */
            status = CONVGEN_NO_MEMORY;
        n += n > EVERY ? n / 25 : 0;
    }
}
END_TEST

/* A state that met a failing allocation is as good as new afterwards. */
START_TEST(usable_after_a_failure)
{
    cg_script *s;
    cg_source source;
    cg_schedule_list list;
    char why[CG_WHY];
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    for (long n = 1; n < 2000; n = n * 5 / 4 + 1) {
        cg_fail_allocation = n;
        cg_status status = cg_script_schedules(s, &request, &list);
        cg_fail_allocation = 0;
        ck_assert(!status || status == CONVGEN_NO_MEMORY);
        if (!status)
            cg_free(list.at);
    }
    ck_assert_msg(cg_script_schedules(s, &request, &list) == CONVGEN_OK, "%s", cg_error_text());
    ck_assert_int_gt(list.count, 0);
    for (int i = 0; i < list.count; i++) {
        if (list.at[i].why[0])
            continue;
        ck_assert_msg(cg_script_source(s, &request, list.at[i].name, &source, why) == CONVGEN_OK, "%s: %s", list.at[i].name, why);
        ck_assert_uint_gt(source.length, 100);
        cg_source_free(&source);
    }
    cg_free(list.at);
    ck_assert_int_ne(cg_script_source(s, &request, "no.such", &source, why), CONVGEN_OK);
    ck_assert_msg(strstr(why, "no.such") != NULL, "%s", why);
    int version;
    ck_assert_int_eq(cg_script_family_version(s, "nosuch", &version), CONVGEN_UNSUPPORTED);
    cg_script_free(s);
}
END_TEST

static void *ask(void *s)
{
    for (int i = 0; i < 20; i++) {
        cg_schedule_list list;
        if (cg_script_schedules(s, &request, &list))
            return s;
        cg_free(list.at);
    }
    return NULL;
}

START_TEST(threads)
{
    cg_script *s;
    pthread_t thread[3];
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, ask, s);
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        ck_assert_ptr_null(failed);
    }
    cg_script_free(s);
}
END_TEST

/* A list that is too much work has what it came to, says so, and can be used; a source that is too much is refused. */
START_TEST(what_is_too_much_is_left_out)
{
    convgen_problem p;
    cg_script *s;
    cg_schedule_list whole, part;
    cg_source source;
    char why[CG_WHY];
    ck_assert_int_eq(convgen_problem_parse("--accuracy=8x mb1ic384ih500iw311oc384kh3kw3ph1pw1", &p), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
    cg_request r = {.problem = &p, .machine = &machine, .target = "avx2", .form = "machine", .threads = 1, .steady = true};
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    ck_assert_int_eq(cg_script_schedules(s, &r, &whole), CONVGEN_OK);
    ck_assert_int_gt(cg_script_work(s), 1); /* beyond the limit below */
    ck_assert_int_eq(cg_script_source(s, &r, whole.at[0].name, &source, why), CONVGEN_OK); /* how much that is */
    int work = cg_script_work(s);
    cg_source_free(&source);
    cg_script_free(s); /* a list is less work the second time */
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    cg_script_limit = 1;
    ck_assert_msg(cg_script_schedules(s, &r, &part) == CONVGEN_OK, "%s", cg_error_text());
    int legal = 0, told = 0, plain = 0;
    for (int i = 0; i < part.count; i++) {
        legal += !part.at[i].why[0];
        told += !strcmp(part.at[i].why, "the generator gave up after 1 million steps") && !strcmp(part.at[i].name, "winograd");
        plain += !strcmp(part.at[i].name, "plain");
    }
    ck_assert_msg(legal >= 1 && told == 1 && plain == 1, "%d legal, %d told, %d plain", legal, told, plain);
    cg_script_limit = 0;
    if (work > 1) {
        ck_assert_int_eq(cg_script_source(s, &r, whole.at[0].name, &source, why), CONVGEN_UNSUPPORTED);
        ck_assert_str_eq(why, "the generator gave up after 0 million steps");
    }
    cg_free(whole.at);
    cg_free(part.at);
    cg_script_free(s);
}
END_TEST

/* Modules are run when they are asked for: a name is known though nobody has asked for its family before. */
START_TEST(a_source_may_be_the_first_question)
{
    cg_script *s;
    cg_source source;
    char why[CG_WHY];
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    ck_assert_msg(cg_script_source(s, &request, "plain", &source, why) == CONVGEN_OK, "%s", why);
    cg_source_free(&source);
    cg_script_free(s);
}
END_TEST

/* What allocates less than usual is not counted: counting costs nearly as much again. */
START_TEST(only_what_is_long_is_counted)
{
    convgen_problem p;
    cg_script *s;
    cg_schedule_list list;
    ck_assert_int_eq(convgen_problem_parse("--accuracy=8x mb1ic384ih56oc384kh3ph1", &p), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
    cg_request r = {.problem = &p, .machine = &machine, .target = "avx2", .form = "machine", .threads = 1};
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    cg_script_uncounted = LONG_MAX;
    ck_assert_int_eq(cg_script_schedules(s, &r, &list), CONVGEN_OK);
    ck_assert_int_eq(cg_script_work(s), 0);
    cg_free(list.at);
    cg_script_free(s);
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    cg_script_uncounted = 2;
    ck_assert_int_eq(cg_script_schedules(s, &r, &list), CONVGEN_OK);
    ck_assert_int_gt(cg_script_work(s), 0);
    cg_free(list.at);
    cg_script_free(s);
}
END_TEST

/* Long sums of one pixel were written out, each name and register found by looking at all before: work grew with the square. */
static const char *const long_sums[] = {
    "mb1ic4096ih1oc1kh1", "mb1ic8192ih1oc1kh1", "mb1ic6000ih1oc10kh1", "mb32ic6000ih1oc10kh1", "mb1ic65536ih1oc2kh1", "g8mb1ic65536ih1oc16kh1",
    "--dt=f64 mb1ic8192ih1oc1kh1", "--tag=nchw mb1ic8192ih1oc1kh1", "--tag=nchw mb32ic6000ih1oc10kh1", "mb1ic25088ih1oc4096kh1",
    "--dir=BWD_D mb1ic1ih1oc8192kh1", "--dir=BWD_D --tag=nchw mb1ic10ih1oc6000kh1", "--dir=BWD_W mb1ic8192ih1oc1kh1",
    "--dir=BWD_W mb32ic1ih1oc8192kh1", "--dir=BWD_WB --tag=nchw mb32ic8192ih1oc10kh1", "mb1ic4096ih3oc2kh3ph1",
};

START_TEST(long_sums_are_little_work)
{
    static const char *const targets[] = {"avx512", "avx2"};
    cg_script *s;
    cg_schedule_list list;
    convgen_problem p;
    char why[CG_WHY];
    ck_assert_int_eq(convgen_problem_parse(long_sums[_i], &p), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
    ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
    for (int t = 0; t < 2; t++) {
        cg_request r = {.problem = &p, .machine = &machine, .target = targets[t], .form = "machine", .threads = 1};
        ck_assert_msg(cg_script_schedules(s, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
        ck_assert_int_le(cg_script_work(s), 2);
        for (int i = 0; i < list.count && !list.at[i].why[0]; i++) {
            cg_source source;
            ck_assert_msg(cg_script_source(s, &r, list.at[i].name, &source, why) == CONVGEN_OK, "%s: %s", list.at[i].name, why);
            ck_assert_msg(cg_script_work(s) <= 40 && source.length < 2 << 20, "%s: %d million steps, %zu bytes", list.at[i].name,
                          cg_script_work(s), source.length);
            cg_source_free(&source);
        }
        cg_free(list.at);
    }
    cg_script_free(s);
}
END_TEST

/* One chain of fma waits for itself in every schedule: what a kernel does beside it (packing, laying out) is lost. */
START_TEST(one_long_chain_is_plain)
{
    static const char *const one[] = {"mb1ic4096ih1oc1kh1", "mb1ic8192ih1oc1kh1", "--tag=nchw mb1ic8192ih1oc1kh1", "--dir=BWD_D mb1ic1ih1oc8192kh1"};
    static const char *const targets[] = {"avx512", "avx2"};
    for (int i = 0; i < 8; i++) {
        cg_script *s;
        cg_schedule_list list;
        convgen_problem p;
        ck_assert_int_eq(convgen_problem_parse(one[i / 2], &p), CONVGEN_OK);
        ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
        ck_assert_int_eq(cg_script_new(&s), CONVGEN_OK);
        cg_request r = {.problem = &p, .machine = &machine, .target = targets[i % 2], .form = "machine", .threads = 1};
        ck_assert_msg(cg_script_schedules(s, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
        ck_assert_msg(!strcmp(list.at[0].name, "plain"), "%s on %s: %s", one[i / 2], targets[i % 2], list.at[0].name);
        cg_free(list.at);
        cg_script_free(s);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("script");
    TCase *own = test_case(suite, "own", 120);
    tcase_add_checked_fixture(own, setup_own, remove_folder);
    tcase_add_test(own, a_good_answer);
    tcase_add_test(own, the_request_is_told);
    tcase_add_test(own, refused_with_a_reason);
    tcase_add_test(own, a_stage_without_its_function);
    tcase_add_test(own, the_hosts_locale_stays);
    tcase_add_loop_test(own, wrong_answers, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(own, memory_limit);
    tcase_add_test(own, a_runaway_is_stopped);
    tcase_add_test(own, a_part_may_give_up);
    tcase_add_test(own, modules_and_templates);
    tcase_add_test(own, numbers_in_any_locale);
    TCase *target = test_case(suite, "target", 60), *embedded = test_case(suite, "embedded", 300);
    tcase_add_checked_fixture(target, setup, NULL);
    tcase_add_test(target, targets);
    tcase_add_test(target, a_target_needs_all_its_features);
    tcase_add_test(target, a_target_has_all_rates);
    tcase_add_checked_fixture(embedded, setup, NULL);
    tcase_add_test(embedded, every_failing_allocation);
    tcase_add_test(embedded, usable_after_a_failure);
    tcase_add_test(embedded, threads);
    tcase_add_test(embedded, what_is_too_much_is_left_out);
    tcase_add_test(embedded, only_what_is_long_is_counted);
    tcase_add_test(embedded, a_source_may_be_the_first_question);
    tcase_add_loop_test(embedded, long_sums_are_little_work, 0, (int)(sizeof long_sums / sizeof *long_sums));
    tcase_add_test(embedded, one_long_chain_is_plain);
    return test_run(suite);
}
