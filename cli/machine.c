/* machine.c: convgen machine: what was detected, and what the machine reaches.
 *
 * Peaks, rates and bandwidth are measured once and kept in the store; a store that cannot be written costs only the time. */
#include "cli.h"
#include <math.h>

void cli_rates(convgen_context *c)
{
    cg_machine *m = &c->machine;
    if (m->bandwidth > 0 || cg_rates_recall(c->store, m))
        return;
    cli_progress("measuring what reading and writing memory costs");
    cg_rates_measure(m);
    cli_progress_end();
    (void)cg_rates_keep(c->store, m);
    cg_rates_check(m->rate);
}

double cli_bandwidth(convgen_context *c)
{
    cli_rates(c);
    return c->machine.bandwidth;
}

static void size_text(char text[24], long bytes)
{
    if (bytes <= 0)
        snprintf(text, 24, "unknown");
    else if (bytes % (1 << 20) == 0)
        snprintf(text, 24, "%ld MB", bytes >> 20);
    else
        snprintf(text, 24, "%ld KB", bytes >> 10);
}

/* The rates that were measured, or those that were not and what is assumed of them. */
static void print_rates(const cg_machine *m, const cg_target *t, bool measured, const char *title, const char *unit)
{
    const char *before = title;
    for (int r = 0; r < CG_RATES; r++) {
        if ((m->rate[r] > 0) != measured)
            continue;
        printf("%s%s %.3g", before, cg_rate_rows[r].name, measured ? m->rate[r] : t->rate[r]);
        before = ", ";
    }
    if (before != title)
        printf("; %s\n", unit);
}

static void print_text(const cg_machine *m, const cg_target *t, double f32, double f64, const char *store)
{
    char l1d[24], l2[24], l3[24];
    size_text(l1d, m->l1d);
    size_text(l2, m->l2);
    size_text(l3, m->l3);
    printf("processor  %s (%s, family %d, model %d, stepping %d)\n", m->name, m->vendor, m->family, m->model, m->stepping);
    printf("features   %s\n", m->features);
    printf("caches     L1 data %s, L2 %s, L3 %s, lines of %d bytes\n", l1d, l2, l3, m->line);
    printf("cores      %d (those this process may use)\n", m->cores);
    printf("key        %s\n", m->key);
    printf("target     %s (%d bits)\n", t->name, t->bits);
    printf("FMA peak   %.1f GFLOP/s in f32, %.1f in f64, of one core at this width\n", f32, f64);
    printf("memory     %.1f GB/s read by one core\n", m->bandwidth);
    print_rates(m, t, true, "rates      ", "measured cycles for a line of 64 bytes");
    print_rates(m, t, false, "assumed    ", "could not be measured");
    printf("store      %s\n", *store ? store : "none: neither $CONVGEN_STORE nor $XDG_CACHE_HOME nor $HOME is set");
}

/* null: assumed, each target has a figure of its own. */
static void json_rates(const cg_machine *m)
{
    char key[32];
    for (int r = 0; r < CG_RATES; r++) {
        snprintf(key, sizeof key, "rate_%s", cg_rate_rows[r].name);
        cli_json_number(key, m->rate[r] > 0 ? m->rate[r] : NAN);
    }
}

static void print_json(const cg_machine *m, const cg_target *t, double f32, double f64, const char *store)
{
    const struct {
        const char *key, *value;
    } texts[] = { { "machine", m->key }, { "name", m->name },     { "vendor", m->vendor }, { "features", m->features },
                  { "target", t->name }, { "store", store } };
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        { "family", m->family },           { "model", m->model },           { "stepping", m->stepping },
        { "l1d", (double)m->l1d },         { "l2", (double)m->l2 },         { "l3", (double)m->l3 },
        { "line", m->line },               { "cores", m->cores },           { "bits", t->bits },
        { "peak_gflops_f32", f32 },        { "peak_gflops_f64", f64 },      { "bandwidth_gbs", m->bandwidth },
    };
    cli_json_begin();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cli_json_text(texts[i].key, texts[i].value);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cli_json_number(numbers[i].key, numbers[i].value);
    json_rates(m);
    cli_json_end();
}

static int run(cli_arguments *a)
{
    convgen_context *c;
    if (a->word_count)
        return cli_usage(a, "unexpected word %s; machine takes options only", a->words[0]);
    if (cli_open(a, &c))
        return cli_failed(a);
    double f32 = cli_peak(c, c->target.name, CONVGEN_F32, 1), f64 = cli_peak(c, c->target.name, CONVGEN_F64, 1);
    cli_rates(c);
    (a->json ? print_json : print_text)(&c->machine, &c->target, f32, f64, cg_store_path(c->store));
    convgen_close(c);
    return CLI_DONE;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    OPTION("--target", "T", CLI_TEXT, AT(target), CLI_TARGET_HELP, .choices = CG_TARGET_WORDS),
    CLI_STORE,
    CLI_JSON,
    { .name = NULL },
};

const cli_verb cli_machine = {
    .name = "machine", .arguments = "[options]", .summary = "print what was detected, and the measured FMA peak, memory rates and bandwidth",
    .text =
      "The measured values are kept in the store.",
    .options = options, .run = run,
};
