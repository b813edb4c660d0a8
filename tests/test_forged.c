/* test_forged.c: records that are well-formed and wrong: in the store, shipped, merged. None may be used beyond its budget.
 *
 * A forger knows the format and the checksum. He writes schedules of other problems and accuracies, families and versions that are
 * not the schedule's, figures as he likes. What is used all the same is verified in full here: it must be right, and its figures
 * must be called recorded. Random: $CONVGEN_SEED. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sample_records.h"

enum { FORGED = 40, NAMES = 400 };

static const struct forged_family {
    const char *name, *problems[4]; /* which it is for */
} families[] = {
    {"direct", {"mb1ic16ih8oc16kh3ph1", "mb2ic4ih6oc20kh1", "--dir=BWD_D --dt=f64 mb1ic5ih7oc16kh3ph1", "--dir=BWD_W mb2ic6ih8oc16kh3ph1"}},
    {"planar", {"mb1ic3ih12oc8kh5ph2", "--tag=nchw mb1ic4ih10oc6kh3ph1", "--dir=BWD_D --dt=f64 mb1ic3ih9oc4kh3ph1", "--dir=BWD_WB mb1ic3ih12oc8kh3ph1"}},
    {"depthwise", {"g16mb1ic16ih9oc16kh3ph1", "g8mb2ic8ih7oc16kh3ph1", "--dir=BWD_D g16mb1ic16ih9oc16kh3ph1", "--dir=BWD_W g16mb1ic16ih9oc16kh3ph1"}},
    {"winograd", {"mb1ic16ih8oc16kh3ph1", "mb2ic64ih14oc16kh3ph1", "--dir=BWD_D mb1ic20ih10oc24kh5ph2", "--dir=BWD_W mb1ic16ih12oc16kh3ph1"}},
    {"plain", {"mb1ic3ih5oc2kh3ph1", "g2mb1ic4ih5oc4kh3ph1", "--dir=BWD_D mb1ic2ih5oc3kh3", "--dir=BWD_WB mb1ic2ih5oc3kh3"}},
};
enum { FAMILIES = sizeof families / sizeof *families };

typedef enum { IN_STORE, SHIPPED, MERGED, PLACES } place;

static convgen_context *context;
static uint64_t seed, state;

static void open_context(void)
{
    setup();
    setenv("CONVGEN_TUNED", folder, 1); /* *.records are the shipped ones */
    convgen_options o = {.struct_size = sizeof o, .store = path};
    ck_assert_msg(!convgen_open(&o, &context), "%s", convgen_error(NULL));
    seed = state = seed_of_run();
}

static void close_context(void)
{
    convgen_close(context);
    teardown();
}

static int any(int below) { return (int)(cg_random(&state) % (uint64_t)below); }

static const char *form(void) { return cg_form(&context->target, "tcc"); }

static convgen_problem problem_of(const char *text, convgen_accuracy accuracy)
{
    convgen_problem p;
    ck_assert_msg(!convgen_problem_parse(text, &p) && !cg_problem_normalise(&p), "%s: %s", text, convgen_error(NULL));
    p.accuracy = accuracy;
    return p;
}

static cg_schedule_list schedules_of(const convgen_problem *p)
{
    cg_request request = {.problem = p, .machine = &context->machine, .target = context->target.name, .form = form(), .threads = 1};
    cg_schedule_list list;
    ck_assert_msg(!cg_script_schedules(context->script, &request, &list), "%s", convgen_error(NULL));
    return list;
}

/* A schedule's name of the family: of any of its problems, whether that one would take it or not. */
static bool some_schedule(const struct forged_family *f, char name[CG_NAME], int *version)
{
    convgen_problem p = problem_of(f->problems[any(4)], CONVGEN_8X);
    cg_schedule_list list = schedules_of(&p);
    int of_family[NAMES], count = 0;
    for (int i = 0; i < list.count && count < NAMES; i++)
        if (!strcmp(list.at[i].family, f->name) && strcmp(list.at[i].name, f->name)) of_family[count++] = i;
    for (int i = 0; i < list.count && count < NAMES; i++) /* "plain" is a name of its own */
        if (!strcmp(list.at[i].name, "plain") && !strcmp(f->name, "plain")) of_family[count++] = i;
    if (count) {
        const cg_schedule *s = &list.at[of_family[any(count)]];
        strcpy(name, s->name);
        *version = s->version;
    }
    cg_free(list.at);
    return count > 0;
}

static cg_record key_of(const convgen_problem *p)
{
    cg_record k = {.threads = 1};
    strcpy(k.machine, context->machine.key);
    strcpy(k.target, context->target.name);
    strcpy(k.form, form());
    strcpy(k.compiler, "tcc");
    ck_assert_int_eq(convgen_problem_format(p, k.problem, sizeof k.problem), CONVGEN_OK);
    return k;
}

static bool forge(const struct forged_family *f, const convgen_problem *p, cg_record *r)
{
    static const double errors[] = {0, 0.5, 1e-3, NAN, 1e9};
    int version, kind = any(6);
    *r = key_of(p);
    if (!some_schedule(f, r->schedule, &version)) return false;
    strcpy(r->family, kind == 1 ? families[any(FAMILIES)].name : f->name);
    r->version = kind == 2 ? version + 1 - 2 * any(2) : version;
    if (kind == 3) strcat(r->schedule, any(2) ? "1" : ".x");
    if (kind == 4) r->partial = true;
    if (any(2)) strcpy(r->generator, any(2) ? context->generator : "9.9");
    r->ns_min = r->ns_median = 1;
    r->error_normwise = errors[any(5)];
    r->error_vs_loop = errors[any(5)];
    r->error_vs_bound = errors[any(5)];
    return true;
}

static void clear_places(void)
{
    unlink(path);
    unlink(other);
}

static void put_at(place at, const cg_record *r)
{
    put(at == IN_STORE ? path : other, r); /* other.records is in the folder that ships */
    if (at != MERGED) return;
    cg_store *s = store_at(path);
    ck_assert_msg(!cg_store_merge(s, other), "%s", cg_error_text());
    cg_store_free(s);
    unlink(other);
}

/* Whether the plan's answers hold at the problem's accuracy. A prediction is no measurement: one that is met says of the error only
 * that it is within what 4,096 outputs tell (4 / sqrt of them), as where ESTIMATE looks at a sample. */
static bool holds(const convgen_plan *plan, const convgen_problem *p, char why[CG_WHY])
{
    cg_judge judge;
    cg_result result = {0};
    cg_record r = key_of(p);
    cg_job job;
    snprintf(r.schedule, sizeof r.schedule, "%s", convgen_plan_info(plan)->schedule);
    cg_recalled_job(p, &r, &job);
    job.level = CG_VERIFY_FULL;
    ck_assert_int_eq(cg_judge_local(context, true, &judge), CONVGEN_OK);
    ck_assert_msg(!judge.verify(judge.self, &job, &result), "%s", cg_error_text());
    snprintf(why, CG_WHY, "%s", result.verdict.why);
    judge.forget(judge.self);
    cg_free(judge.self);
    bool near = !strncmp(why, "the error on uniform data", 25) && result.verdict.error_vs_loop <= cg_budget(p->accuracy) * (1 + 4 / 64.0);
    return result.status == CONVGEN_OK && (result.verdict.ok || near);
}

static void say(const cg_record *r, char text[4096])
{
    cg_buffer line = {0};
    cg_record_format(r, &line);
    snprintf(text, 4096, "CONVGEN_SEED=%llu: %s", (unsigned long long)seed, line.text);
    cg_buffer_free(&line);
}

/* Recalled: right, and called recorded. Else there is a reason. */
static bool recall_is_sound(const convgen_problem *p, convgen_effort effort, const cg_record *r)
{
    convgen_plan *plan;
    char about[4096], why[CG_WHY];
    say(r, about);
    cg_status status = convgen_plan_create(context, p, effort, 0, &plan);
    if (status) {
        ck_assert_msg(effort == CONVGEN_RECALL && convgen_error(NULL)[0], "%s: %s", convgen_error(NULL), about);
        return false;
    }
    bool recalled = convgen_plan_info(plan)->recalled;
    ck_assert_msg(recalled || effort != CONVGEN_RECALL, "%s", about);
    ck_assert_msg(holds(plan, p, why), "%s is used, and is wrong: %s; %s", convgen_plan_info(plan)->schedule, why, about);
    if (recalled) {
        const char *words = convgen_plan_describe(plan), *error = strstr(words, "error ");
        ck_assert_msg(strstr(words, "recorded 1 ns"), "%s: %s", words, about);
        ck_assert_msg(error && (!strncmp(error - 9, "recorded ", 9) || !strncmp(error, "error not", 9) ||
                                strstr(words, "recorded normwise error")), "%s: %s", words, about);
    }
    convgen_plan_free(plan);
    return recalled;
}

static void forged_records(place at, int family)
{
    const struct forged_family *f = &families[family];
    int made = 0, used = 0;
    for (int i = 0; i < FORGED; i++) {
        convgen_problem p = problem_of(f->problems[any(4)], (convgen_accuracy)any(4));
        cg_record r;
        if (!forge(f, &p, &r)) continue; /* a processor that has no such schedule */
        clear_places();
        put_at(at, &r);
        used += recall_is_sound(&p, CONVGEN_RECALL, &r);
        if (i % 4 == 0) recall_is_sound(&p, CONVGEN_ESTIMATE, &r); /* which goes on to search */
        made++;
    }
    printf("%s, %s: %d forged, %d of them right and used\n", f->name, (const char *const[]){"store", "tuned", "merged"}[at], made, used);
    ck_assert_int_lt(used, made ? made : 1);
}

START_TEST(in_the_store) { forged_records(IN_STORE, _i); }
END_TEST
START_TEST(shipped) { forged_records(SHIPPED, _i); }
END_TEST
START_TEST(merged) { forged_records(MERGED, _i); }
END_TEST

/* What was measured here is recalled whatever is merged, however fast that says it is; a bad later line hides no good one. */
START_TEST(own_records_stay)
{
    int kept = 0;
    for (int i = 0; i < 20; i++) {
        const struct forged_family *f = &families[any(FAMILIES)];
        convgen_problem p = problem_of(f->problems[any(4)], CONVGEN_PROVEN);
        cg_schedule_list list = schedules_of(&p);
        cg_record own = key_of(&p), r;
        convgen_plan *plan;
        strcpy(own.schedule, list.at[0].name), strcpy(own.family, list.at[0].family), strcpy(own.generator, context->generator);
        own.version = list.at[0].version, own.ns_min = own.ns_median = 1e6;
        cg_free(list.at);
        clear_places();
        put(path, &own);
        if (!forge(f, &p, &r)) continue;
        put_at(MERGED, &r);
        ck_assert_msg(!convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), "%s", convgen_error(NULL));
        ck_assert_str_eq(convgen_plan_info(plan)->schedule, own.schedule);
        convgen_plan_free(plan);
        r.version += 3;
        put(path, &r);
        ck_assert_msg(!convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), "%s", convgen_error(NULL));
        ck_assert_str_eq(convgen_plan_info(plan)->schedule, own.schedule);
        convgen_plan_free(plan);
        kept++;
    }
    ck_assert_int_gt(kept, 10);
}
END_TEST

/* Named by its error 0.5; measured 8.9, where 1.25 are allowed. */
START_TEST(the_classic)
{
    convgen_problem p = problem_of("mb1ic16ih8oc16kh3ph1", CONVGEN_LOOP);
    cg_record r = key_of(&p);
    convgen_plan *plan;
    if (context->target.bits < 256) return;
    strcpy(r.schedule, "winograd.6+2x6+2.t14.s1/product.r6.v2.a16");
    strcpy(r.family, "winograd");
    ck_assert_int_eq(cg_script_family_version(context->script, "winograd", &r.version), CONVGEN_OK);
    r.ns_min = r.ns_median = 1, r.error_vs_loop = 0.5;
    put(path, &r);
    ck_assert_int_eq(convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), CONVGEN_NO_RECORD);
    ck_assert_msg(strstr(convgen_error(NULL), "predicted error"), "%s", convgen_error(NULL));
    cg_outcome outcome = {.record = r}; /* nor built, whoever asks */
    ck_assert_int_ne(cg_plan_for(context, &outcome, &p, &plan), CONVGEN_OK);
    ck_assert_msg(strstr(convgen_error(NULL), "predicted error"), "%s", convgen_error(NULL));
}
END_TEST

static int samples;
static cg_status count_verify(void *self, const cg_job *job, cg_result *result)
{
    (void)self;
    ck_assert_int_eq(job->level, CG_VERIFY_SAMPLE);
    samples++;
    *result = (cg_result){.verdict.ok = true};
    return CONVGEN_OK;
}

/* Its own figure refuses a transform, whatever is predicted; a sum's is no matter of a budget. */
START_TEST(its_own_figure_counts)
{
    convgen_problem p = problem_of("mb1ic16ih12oc16kh3ph1", CONVGEN_LOOP);
    cg_schedule_list list = schedules_of(&p);
    static const char *const names[] = {"winograd", "direct"};
    for (int f = 0; f < 2; f++)
        for (int i = 0; i < list.count && !list.at[i].why[0]; i++) {
            cg_record r = key_of(&p);
            cg_recalled found;
            if (strcmp(list.at[i].family, names[f])) continue;
            strcpy(r.schedule, list.at[i].name), strcpy(r.family, list.at[i].family);
            r.version = list.at[i].version, r.ns_min = r.ns_median = 1, r.error_vs_loop = 1.3;
            clear_places();
            put(path, &r);
            ck_assert_int_eq(cg_recall(context, &p, &r, &found), f == 0 ? CONVGEN_NO_RECORD : CONVGEN_OK);
            ck_assert(f == 1 || strstr(found.why, "recorded error is 1.3 times the loop's, loop admits 1.25"));
            p.accuracy = CONVGEN_2X;
            cg_record k = key_of(&p);
            ck_assert_int_eq(cg_recall(context, &p, &k, &found), CONVGEN_OK);
            ck_assert(found.other_accuracy);
            p.accuracy = CONVGEN_LOOP;
            break;
        }
    cg_free(list.at);
}
END_TEST

/* Once in a process, and not at all what was measured here. */
START_TEST(sampled_once)
{
    convgen_problem p = problem_of("mb1ic16ih8oc16kh3ph1", CONVGEN_LOOP);
    cg_judge judge = {NULL, count_verify, NULL, NULL, NULL};
    cg_recalled found;
    cg_schedule_list list = schedules_of(&p);
    cg_record r = key_of(&p);
    strcpy(r.schedule, list.at[0].name), strcpy(r.family, list.at[0].family);
    r.version = list.at[0].version;
    put(path, &r);
    ck_assert_int_eq(cg_recall(context, &p, &r, &found), CONVGEN_OK);
    ck_assert(cg_recalled_usable(&p, &found));
    ck_assert_int_eq(cg_recalled_sample(&judge, &p, &found), CONVGEN_OK);
    ck_assert_int_eq(samples, 0);
    ck_assert_int_eq(rename(path, other), 0); /* shipped */
    ck_assert_int_eq(cg_recall(context, &p, &r, &found), CONVGEN_OK);
    ck_assert(!cg_recalled_usable(&p, &found));
    for (int i = 0; i < 3; i++) ck_assert_int_eq(cg_recalled_sample(&judge, &p, &found), CONVGEN_OK);
    ck_assert_int_eq(samples, 1);
    ck_assert(cg_recalled_usable(&p, &found));
    cg_recalled another[] = {found, found, found, found, found, found}; /* of which nothing is known by that */
    strcpy(another[0].record.schedule, list.at[1].name);
    strcpy(another[1].record.target, "another");
    strcpy(another[2].record.form, "another");
    strcpy(another[3].record.compiler, "another");
    strcpy(another[4].record.problem, "another");
    another[5].record.threads++;
    for (int i = 0; i < 6; i++) ck_assert_msg(!cg_recalled_usable(&p, &another[i]), "%d", i);
    cg_free(list.at);
}
END_TEST

/* A record of another version that is nearer to the key (measured here, by this generator) than a good one from elsewhere: the good one
 * is used, and sampled, whichever line is the first. */
START_TEST(a_stale_record_beside_a_good_one)
{
    convgen_problem p = problem_of("mb1ic16ih8oc16kh3ph1", CONVGEN_LOOP);
    cg_record key = key_of(&p), stale, good;
    cg_recalled found;
    strcpy(key.generator, context->generator);
    cg_schedule_list list = schedules_of(&p);
    good = stale = key;
    good.ns_min = good.ns_median = stale.ns_min = stale.ns_median = 1;
    good.merged = true;
    strcpy(good.schedule, list.at[0].name);
    strcpy(good.family, list.at[0].family);
    good.version = list.at[0].version;
    strcpy(stale.schedule, list.at[1].name);
    strcpy(stale.family, list.at[1].family);
    stale.version = list.at[1].version + 1;
    cg_free(list.at);
    for (int i = 0; i < 2; i++) {
        clear_places();
        put(path, i ? &stale : &good);
        put(path, i ? &good : &stale);
        ck_assert_int_eq(cg_recall(context, &p, &key, &found), CONVGEN_OK);
        ck_assert_str_eq(found.record.schedule, good.schedule);
        ck_assert(found.unchecked && !found.stale && found.record.version == good.version);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("forged");
    TCase *t = test_case(suite, "forged", 900);
    tcase_add_checked_fixture(t, open_context, close_context);
    tcase_add_loop_test(t, in_the_store, 0, FAMILIES);
    tcase_add_loop_test(t, shipped, 0, FAMILIES);
    tcase_add_loop_test(t, merged, 0, FAMILIES);
    tcase_add_test(t, own_records_stay);
    tcase_add_test(t, the_classic);
    tcase_add_test(t, its_own_figure_counts);
    tcase_add_test(t, sampled_once);
    tcase_add_test(t, a_stale_record_beside_a_good_one);
    return test_run(suite);
}
