/* report.c: convgen tune --report=FILE: one HTML page about what was tuned, with drawings in SVG and without scripts.
 *
 * Fed by tune.c with every candidate that was tried; the rest (estimates, refusals of the generator) is asked of the generator
 * again, and plain loops are timed once where that is quick. Times of schedules that were not run are drawn hollow: their estimates
 * in cycles at the rate of the winner. plot.c draws. */
#include "plot.h"
#include <errno.h>
#include <math.h>
#include <string.h>

enum { WIDE = 900, LEFT = 250, ROW = 22, PLOT = 380, LABEL = 33 };
static const double plain_each = 0.5e9, plain_all = 20; /* ns by estimate of the longest plain loops that are timed; seconds for all */

/* ---- what was tried: every figure about it, in the table and in drawings, comes from here ---- */

typedef struct trials {
    const cli_trial *at;
    int count;
} trials;

/* Those of a layer stand together, and layers in their order. */
static trials trials_of(const cli_report *report, int layer)
{
    const cli_trial *all = (const cli_trial *)report->trials.text;
    size_t count = report->trials.length / sizeof *all, low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all[middle].layer < layer)
            low = middle + 1;
        else
            high = middle;
    }
    trials t = { all + low, 0 };
    while (low + (size_t)t.count < count && t.at[t.count].layer == layer)
        t.count++;
    return t;
}

static int refused_of(trials t)
{
    int n = 0;
    for (int i = 0; i < t.count; i++)
        n += !(t.at[i].ns > 0);
    return n;
}

/* NULL: it was not tried. */
static const cli_trial *trial_of(trials t, const char *schedule)
{
    for (int i = 0; i < t.count; i++)
        if (strcmp(t.at[i].schedule, schedule) == 0)
            return &t.at[i];
    return NULL;
}

void cli_report_tried(cli_report *report, int layer, const cg_tried *t)
{
    cli_trial trial = { .layer = layer, .ns = t->ns_min, .round = t->round };
    snprintf(trial.schedule, sizeof trial.schedule, "%s", t->schedule->name);
    snprintf(trial.why, sizeof trial.why, "%s", t->why ? t->why : "");
    cli_trial *known = t->again ? (cli_trial *)trial_of(trials_of(report, layer), trial.schedule) : NULL;
    if (known)
        *known = trial;
    else
        cg_buffer_add(&report->trials, (const char *)&trial, sizeof trial);
}

/* Short enough for a drawing: its number in the table with its name, or its sizes and pass. */
static void label(cg_buffer *b, int number, const cli_report_row *row)
{
    const convgen_problem *p = &row->np->problem;
    const char *pass = strchr(row->np->name, ':') ? "" : cg_pass_name(p);
    cg_buffer_printf(b, "%d ", number + 1);
    if (row->np->name[0])
        plot_shortened(b, row->np->name, LABEL - strlen(pass) - 4);
    else {
        int first = p->in[0] > 1 || p->kernel[0] > 1 ? 0 : 1;
        for (int d = first; d < 3; d++)
            cg_buffer_printf(b, "%s%lld", d > first ? "x" : "", (long long)p->in[d]);
        cg_buffer_printf(b, " %lld-%lld %lldx%lld", (long long)p->in_channels, (long long)p->out_channels, (long long)p->kernel[1],
                         (long long)p->kernel[2]);
    }
    if (*pass)
        cg_buffer_printf(b, " %s", pass);
}

static void time_cell(cg_buffer *b, double ns)
{
    char text[24] = "-";
    if (isfinite(ns) && ns > 0)
        cli_time_text(text, ns);
    cg_buffer_printf(b, "<td class=n>%s", text);
}

static void number_cell(cg_buffer *b, const char *format, double value)
{
    char text[48] = "-";
    if (isfinite(value))
        snprintf(text, sizeof text, format, value);
    cg_buffer_printf(b, "<td class=n>%s", text);
}

/* ---- the page's parts ---- */

static double flops(const cli_report_row *row) { return 2 * cg_problem_sizes(&row->np->problem).macs; }

/* Of tensors that are read or written once each. */
static double bytes(const cli_report_row *row)
{
    cg_sizes n = cg_problem_sizes(&row->np->problem);
    return (double)(n.src + n.weights + n.dst) * (double)n.element;
}

static void table(cg_buffer *b, const cli_report *report, const cli_report_row *rows, int count)
{
    cg_buffer_printf(b, "<h2>Layers</h2><div class=wide><table><tr><th><th>layer<th>pass<th>type<th>schedule<th>time<th>GFLOP/s<th>%% of peak<th>error / loop"
                        "<th>error / bound<th>tried<th>refused\n");
    for (int i = 0; i < count; i++) {
        const cg_record *r = rows[i].record;
        char text[CG_TEXT];
        cg_buffer_printf(b, "<tr><td class=n>%d<td class=w>", i + 1);
        plot_escaped(b, cli_label(rows[i].np, text));
        cg_buffer_printf(b, "<td>%s<td>%s<td>", cg_pass_name(&rows[i].np->problem), cg_type_name(rows[i].np->problem.type));
        plot_escaped(b, r ? r->schedule : "no result");
        double gflops = r ? cli_gflops(rows[i].np, r->ns_min) : NAN;
        time_cell(b, r ? r->ns_min : 0);
        number_cell(b, "%.1f", gflops);
        number_cell(b, "%.0f", rows[i].peak > 0 ? 100 * gflops / rows[i].peak : NAN);
        number_cell(b, "%.2f", r ? r->error_vs_loop : NAN);
        number_cell(b, "%.2g", r ? r->error_vs_bound : NAN);
        if (rows[i].recalled)
            cg_buffer_printf(b, "<td colspan=2>%s, recorded", r->shipped ? "shipped" : "recalled");
        else {
            number_cell(b, "%.0f", trials_of(report, i).count);
            cg_buffer_printf(b, "%s", r && r->cut_after ? ", cut" : "");
            number_cell(b, "%.0f", refused_of(trials_of(report, i)));
        }
        cg_buffer_printf(b, "\n");
    }
    cg_buffer_printf(b, "</table></div><p>FLOP count padded taps; a transform that multiplies less, or taps in the padding that are left out, "
                        "can pass 100 %% of the peak. Layers that are recalled, or whose record is shipped with convgen, were not tuned in this run: "
                        "their times and errors are the recorded ones.\n");
}

static void roof(cg_buffer *b, const plot_axis *x, const plot_axis *y, double peak, double bandwidth)
{
    double ridge = peak / bandwidth, start = fmax(x->low, y->low / bandwidth);
    cg_buffer_printf(b, "<path class=roof d='M%.1f %.1fL%.1f %.1fL%.1f %.1f'/>", plot_place(x, start), plot_place(y, start * bandwidth),
                     plot_place(x, ridge), plot_place(y, peak), x->to, plot_place(y, peak));
}

static bool is_timed(const cli_report_row *row) { return row->record && row->record->ns_min > 0; }

/* peak: of each type, 0: none is drawn. Dots, then the roofs' names, then numbers. */
static void dots(cg_buffer *b, const cli_report_row *rows, int count, const plot_axis *x, const plot_axis *y, const double peak[CG_TYPES])
{
    static const char *const class_of[] = { "best", "first" }; /* by turns */
    plot_spots taken = { cg_calloc((size_t)count * 2 + CG_TYPES, sizeof *taken.at), 0 };
    for (int i = 0; i < count && taken.at; i++) {
        if (!is_timed(&rows[i]))
            continue;
        plot_spot s = { plot_place(x, flops(&rows[i]) / bytes(&rows[i])), plot_place(y, cli_gflops(rows[i].np, rows[i].record->ns_min)), 4, 4 };
        taken.at[taken.count++] = s;
        cg_buffer_printf(b, "<circle class=%s cx='%.1f' cy='%.1f' r='5'><title>", class_of[rows[i].np->problem.type % 2], s.x, s.y);
        label(b, i, &rows[i]);
        cg_buffer_printf(b, "</title></circle>");
    }
    for (int t = 0; t < CG_TYPES && taken.at; t++) {
        char name[64];
        snprintf(name, sizeof name, "%s peak %.0f GFLOP/s", cg_type_name((convgen_type)t), peak[t]);
        if (peak[t] > 0)
            plot_name_line(b, x, y, peak[t], name, &taken);
    }
    for (int i = 0, k = 0; i < count && taken.at; i++)
        if (is_timed(&rows[i]))
            plot_number_dot(b, i + 1, taken.at[k].x, taken.at[k].y, &taken), k++;
    b->failed |= !taken.at;
    cg_free(taken.at);
}

static void roofline(cg_buffer *b, const cli_report_row *rows, int count, double bandwidth)
{
    double least = INFINITY, most = 0, low = INFINITY, high = 0, peak[CG_TYPES] = { 0 }, highest = 0;
    for (int i = 0; i < count; i++) {
        if (!is_timed(&rows[i]))
            continue;
        double intensity = flops(&rows[i]) / bytes(&rows[i]), rate = cli_gflops(rows[i].np, rows[i].record->ns_min);
        least = fmin(least, intensity), most = fmax(most, intensity);
        low = fmin(low, rate), high = fmax(high, fmax(rate, rows[i].peak));
        peak[rows[i].np->problem.type] = fmax(peak[rows[i].np->problem.type], rows[i].peak);
        highest = fmax(highest, rows[i].peak);
    }
    if (!(high > 0))
        return;
    double lowest_ridge = bandwidth > 0 ? highest / bandwidth : least;
    plot_axis x = plot_axis_around(fmin(least, lowest_ridge / 2), fmax(most, 2 * lowest_ridge), 70, WIDE - 20);
    plot_axis y = plot_axis_around(low, high, PLOT - 40, 15);
    cg_buffer_printf(b, "<h2>Roofline</h2><div class=wide><svg viewBox='0 0 %d %d'>", WIDE, PLOT);
    plot_decades_across(b, &x, 15, PLOT - 40, false);
    plot_decades_up(b, &y, 70, WIDE - 20, false);
    for (int t = 0; t < CG_TYPES; t++)
        if (peak[t] > 0 && bandwidth > 0)
            roof(b, &x, &y, peak[t], bandwidth);
        else
            peak[t] = 0;
    dots(b, rows, count, &x, &y, peak);
    plot_text_at(b, WIDE / 2.0, PLOT - 6, "middle", "FLOP per byte, of tensors that are read or written once");
    cg_buffer_printf(b, "<text transform='translate(14 %d) rotate(-90)' text-anchor='middle'>GFLOP/s</text></svg></div>"
                        "<p><span class='key best'></span> f32 <span class='key first'></span> f64. Numbers are those of the table; where there is no "
                        "room for one it is left out. The slope is the measured bandwidth of one core, %.1f GB/s from memory: "
                        "small layers live in the caches and may lie above it.\n", PLOT / 2, bandwidth);
}

/* What is known of the generator's list for a layer: the time of the first by estimate and of the plain one; negative: estimated. */
typedef struct beside {
    double first, plain;
    bool early; /* the first was timed, but not in the final */
} beside;

/* The time of one more schedule, run here: only the worker's judge would survive a crash, so this is for plain loops. 0: it failed. */
static double time_here(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, const char *schedule)
{
    cg_outcome outcome;
    cg_timing timing = { 0 };
    convgen_plan *plan = NULL;
    cg_trial *trial = NULL;
    cg_status status = cli_choose(c, a, np, schedule, &outcome);
    if (!status)
        status = cg_plan_for(c, &outcome, &np->problem, &plan);
    if (!status)
        status = cg_trial_new(&np->problem, false, &trial);
    if (!status)
        status = cg_time(trial, cg_plan_kernel(plan), cg_plan_parallel(plan), &(cg_stint){ .seconds = 0.02 }, &timing);
    cg_trial_free(trial);
    convgen_plan_free(plan);
    return status ? 0 : timing.ns_min;
}

/* 0: it was refused. */
static double time_by(const cli_trial *t, const cg_schedule *s, double ns_per_cycle)
{
    return t ? t->ns : -s->cycles * ns_per_cycle;
}

static double ns_per_cycle(const cli_report_row *row, const cg_schedule_list *list)
{
    for (int i = 0; i < list->count && row->record; i++)
        if (!list->at[i].why[0] && list->at[i].cycles > 0 && strcmp(list->at[i].name, row->record->schedule) == 0)
            return row->record->ns_min / list->at[i].cycles;
    return 0;
}

/* The first legal schedule, of the family where one is named. */
static const cg_schedule *first_of(const cg_schedule_list *list, const char *family)
{
    for (int i = 0; i < list->count; i++)
        if (!list->at[i].why[0] && (!family || strcmp(list->at[i].family, family) == 0))
            return &list->at[i];
    return NULL;
}

/* Plain loops that nobody tried are timed here, where that is quick. Those that the worker refused are not run: they may have crashed. */
static double plain_time(convgen_context *c, const cli_arguments *a, const cli_report_row *row, const cg_schedule *s, double estimate,
                         double *seconds)
{
    if (estimate >= 0 || -estimate > plain_each || *seconds <= 0)
        return estimate;
    double started = cg_now(), here = time_here(c, a, row->np, s->name);
    *seconds -= cg_now() - started;
    return here > 0 ? here : estimate;
}

static beside beside_of(convgen_context *c, const cli_arguments *a, trials tried, const cli_report_row *row, const cg_schedule_list *list,
                        double *seconds)
{
    beside out = { 0 };
    double rate = ns_per_cycle(row, list);
    const cg_schedule *first = first_of(list, NULL), *plain = first_of(list, "plain");
    if (!(rate > 0))
        return out;
    const cli_trial *t = trial_of(tried, first->name);
    bool won = strcmp(first->name, row->record->schedule) == 0;
    out.first = won ? row->record->ns_min : time_by(t, first, rate);
    out.early = !won && t && t->round != CG_FINAL;
    if (plain)
        out.plain = plain_time(c, a, row, plain, time_by(trial_of(tried, plain->name), plain, rate), seconds);
    return out;
}

static void bar(cg_buffer *b, const plot_axis *x, double y, double ns, const char *kind)
{
    char text[24];
    if (ns == 0)
        return;
    cli_time_text(text, fabs(ns));
    cg_buffer_printf(b, "<rect class='%s%s' x='%d' y='%.1f' width='%.1f' height='6'><title>%s%s</title></rect>", kind, ns < 0 ? " hollow" : "",
                     LEFT, y, fmax(1, plot_place(x, fabs(ns)) - LEFT), text, ns < 0 ? ", estimated" : "");
}

static void times(cg_buffer *b, const cli_report_row *rows, const beside *all, int count)
{
    double least = INFINITY, most = 0;
    for (int i = 0; i < count; i++)
        if (is_timed(&rows[i])) {
            least = fmin(least, rows[i].record->ns_min);
            most = fmax(most, fmax(rows[i].record->ns_min, fmax(fabs(all[i].first), fabs(all[i].plain))));
        }
    double top = 20, bottom = top + (double)count * (ROW + 6);
    plot_axis x = plot_axis_around(least / 2, most, LEFT, WIDE - 30);
    cg_buffer_printf(b, "<h2>Time of each layer</h2><p><span class='key best'></span> the chosen one <span class='key first'></span> the first by "
                        "estimate <span class='key plain'></span> plain loops (the family <i>plain</i>), timed once. Hollow bars were not run: they are "
                        "estimates, at the rate of the chosen one. Pale ones lost in a round before the final.<div class=wide><svg viewBox='0 0 %d %.0f'>", WIDE, bottom + 25);
    plot_decades_across(b, &x, top - 5, bottom, true);
    for (int i = 0; i < count; i++) {
        double y = top + (double)i * (ROW + 6);
        cg_buffer_printf(b, "<text x='%d' y='%.1f' text-anchor='end'>", LEFT - 8, y + 13);
        label(b, i, &rows[i]);
        cg_buffer_printf(b, "</text>");
        bar(b, &x, y, rows[i].record ? rows[i].record->ns_min : 0, "best");
        bar(b, &x, y + 7, all[i].first, all[i].early ? "first early" : "first");
        bar(b, &x, y + 14, all[i].plain, "plain");
    }
    cg_buffer_printf(b, "</svg></div>\n");
}

static void refusal(cg_buffer *b, const char *schedule, const char *why)
{
    cg_buffer_printf(b, "<tr><td>");
    plot_escaped(b, schedule);
    cg_buffer_printf(b, "<td>");
    plot_escaped(b, why);
}

/* Of those that were tried, as the table counts them; and those that the generator lists and refuses, of which nobody tried one. */
static void refusals(cg_buffer *b, trials tried, const cg_schedule_list *list)
{
    int unfit = 0, refused = refused_of(tried);
    for (int i = 0; i < list->count; i++)
        unfit += list->at[i].why[0] && !trial_of(tried, list->at[i].name);
    if (refused)
        cg_buffer_printf(b, "<details><summary>%d of %d tried refused</summary><table>", refused, tried.count);
    for (int i = 0; i < tried.count; i++)
        if (!(tried.at[i].ns > 0))
            refusal(b, tried.at[i].schedule, tried.at[i].why);
    cg_buffer_printf(b, "%s", refused ? "</table></details>" : "");
    if (unfit)
        cg_buffer_printf(b, "<details><summary>%d not tried: the generator does not make them</summary><table>", unfit);
    for (int i = 0; i < list->count; i++)
        if (list->at[i].why[0] && !trial_of(tried, list->at[i].name))
            refusal(b, list->at[i].name, list->at[i].why);
    cg_buffer_printf(b, "%s", unfit ? "</table></details>" : "");
}

/* A candidate that was run: its last time. NULL: not run, or refused, or unknown to the generator's list. */
static const cli_trial *measured(trials tried, const cg_schedule *s)
{
    const cli_trial *t = trial_of(tried, s->name);
    return t && t->ns > 0 && s->cycles > 0 ? t : NULL;
}

static void candidate(cg_buffer *b, const plot_axis *x, const plot_axis *y, const cg_schedule *s, const cli_trial *t, bool won)
{
    char text[24];
    bool early = t->round != CG_FINAL && !won;
    cli_time_text(text, t->ns);
    cg_buffer_printf(b, "<circle class='%s%s' cx='%.1f' cy='%.1f' r='%d'><title>", won ? "best" : "first", early ? " early" : "", plot_place(x, s->cycles),
                     plot_place(y, t->ns), won ? 6 : 4);
    plot_escaped(b, s->name);
    cg_buffer_printf(b, ", %s%s</title></circle>", text, early ? ", not in the final" : "");
}

/* What is between the least and the most of the measured ones: estimates, times. */
typedef struct span {
    double least, most, low, high;
    int run;
} span;

static span span_of(trials tried, const cg_schedule_list *list)
{
    span s = { INFINITY, 0, INFINITY, 0, 0 };
    for (int i = 0; i < list->count; i++) {
        const cli_trial *t = measured(tried, &list->at[i]);
        if (!t)
            continue;
        s.run++;
        s.least = fmin(s.least, list->at[i].cycles), s.most = fmax(s.most, list->at[i].cycles);
        s.low = fmin(s.low, t->ns), s.high = fmax(s.high, t->ns);
    }
    return s;
}

/* Both ends of both axes; where they are too near, one. */
static void ends(cg_buffer *b, const plot_axis *x, const plot_axis *y, const span *s)
{
    char text[4][24];
    cli_time_text(text[0], s->low), cli_time_text(text[1], s->high);
    snprintf(text[2], sizeof text[2], "%.3g", s->least), snprintf(text[3], sizeof text[3], "%.3g", s->most);
    plot_text_at(b, 60, plot_place(y, s->low) + 4, "end", text[0]);
    if (plot_place(y, s->low) - plot_place(y, s->high) > 16)
        plot_text_at(b, 60, plot_place(y, s->high) + 4, "end", text[1]);
    plot_text_at(b, plot_place(x, s->least), 215, "start", text[2]);
    if (plot_place(x, s->most) - plot_place(x, s->least) > 130)
        plot_text_at(b, plot_place(x, s->most), 215, "end", text[3]);
    plot_text_at(b, 243, 231, "middle", "estimate, cycles");
}

static void scatter(cg_buffer *b, trials tried, const cli_report_row *row, const cg_schedule_list *list, const span *s)
{
    double wider = 1.02 * pow(s->most / s->least, 0.08), taller = 1.02 * pow(s->high / s->low, 0.08);
    plot_axis x = { s->least / wider, s->most * wider, 66, 420 }, y = { s->low / taller, s->high * taller, 200, 10 };
    cg_buffer_printf(b, "<svg viewBox='0 0 430 236'><path class=axis d='M66 10V200H420'/>");
    ends(b, &x, &y, s);
    for (int last = 0; last < 2; last++) /* the winner over the others */
        for (int i = 0; i < list->count; i++) {
            bool won = row->record && strcmp(row->record->schedule, list->at[i].name) == 0;
            const cli_trial *t = measured(tried, &list->at[i]);
            if (t && won == last)
                candidate(b, &x, &y, &list->at[i], t, won);
        }
    cg_buffer_printf(b, "</svg>");
}

static void candidates(cg_buffer *b, const cli_report *report, int layer, const cli_report_row *row, const cg_schedule_list *list)
{
    trials tried = trials_of(report, layer);
    span s = span_of(tried, list);
    cg_buffer_printf(b, "<div class=panel><h3>");
    label(b, layer, row);
    cg_buffer_printf(b, "</h3>");
    if (s.run) {
        scatter(b, tried, row, list, &s);
        if (row->because[0])
            cg_buffer_printf(b, "<p>Why the green one: %s.", row->because);
    } else
        cg_buffer_printf(b, "<p>%s", !row->recalled ? "Nothing was timed." : row->record->shipped ?
                         "Shipped with convgen: nothing was tried in this run." : "Recalled: nothing was tried in this run.");
    refusals(b, tried, list);
    cg_buffer_printf(b, "</div>\n");
}

static double budget_of(const convgen_problem *p) { return cg_budget(p->accuracy); }

static void errors(cg_buffer *b, const cli_report_row *rows, int count)
{
    double bottom = 10 + (double)count * ROW, most = 2;
    for (int i = 0; i < count; i++)
        if (rows[i].record)
            most = fmax(most, fmax(1.2 * rows[i].record->error_vs_loop, 1.1 * budget_of(&rows[i].np->problem)));
    double scale = (WIDE - 20 - LEFT) / most;
    cg_buffer_printf(b, "<h2>Error against the budget</h2><p>The normwise error over that of a plain loop, on uniform numbers. The dark tick is what "
                        "the layer's accuracy allows a family that transforms its data; one that sums is held to its a-priori bound instead, whose "
                        "used share is the number at the right.<div class=wide><svg viewBox='0 0 %d %.0f'>", WIDE, bottom + 25);
    for (double v = 0; v <= most; v += most > 4 ? 1 : 0.5) {
        char text[24];
        snprintf(text, sizeof text, "%g", v);
        cg_buffer_printf(b, "<line class=g x1='%.1f' y1='5' x2='%.1f' y2='%.1f'/>", LEFT + v * scale, LEFT + v * scale, bottom);
        plot_text_at(b, LEFT + v * scale, bottom + 15, "middle", text);
    }
    for (int i = 0; i < count; i++) {
        const cg_record *r = rows[i].record;
        double y = 10 + (double)i * ROW, budget = budget_of(&rows[i].np->problem);
        cg_buffer_printf(b, "<text x='%d' y='%.1f' text-anchor='end'>", LEFT - 8, y + 12);
        label(b, i, &rows[i]);
        cg_buffer_printf(b, "</text>");
        if (r && isfinite(r->error_vs_loop))
            cg_buffer_printf(b, "<rect class=best x='%d' y='%.1f' width='%.1f' height='12'><title>%.3f%s</title></rect>", LEFT, y + 2,
                             fmax(1, r->error_vs_loop * scale), r->error_vs_loop, rows[i].recalled ? ", recorded" : "");
        if (budget > 0)
            cg_buffer_printf(b, "<line class=tick x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>", LEFT + budget * scale, LEFT + budget * scale, y - 1, y + 17);
        if (r && isfinite(r->error_vs_bound)) {
            char text[40];
            snprintf(text, sizeof text, "%.2g of the bound%s", r->error_vs_bound, rows[i].recalled ? ", recorded" : "");
            plot_text_at(b, WIDE - 20, y + 12, "end", text);
        }
    }
    cg_buffer_printf(b, "</svg></div>\n");
}

static const char head[] =
    "<!DOCTYPE html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><meta name=color-scheme content='light dark'>"
    "<title>convgen tune</title><style>"
    ":root{--ink:#222;--paper:#fff;--line:#ddd;--best:#2d6a4f;--first:#5fa8d3;--plain:#c9a227;--roof:#b5651d}"
    "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#1a1c1e;--line:#43474a;--best:#5cc795;--first:#4a90c0;--plain:#d0ad3c;--roof:#d98a4b}}"
    "body{font:15px/1.45 sans-serif;max-width:1080px;margin:24px auto;padding:0 16px;color:var(--ink);background:var(--paper)}"
    "h1{font-size:24px}h2{font-size:19px;margin:34px 0 8px}h3{font-size:14px;margin:6px 0;overflow-wrap:anywhere}"
    ".wide{overflow-x:auto}svg{width:100%;display:block}.wide svg{min-width:680px}" /* on a small screen it is moved, not shrunk */
    "svg text{font:12px sans-serif;fill:var(--ink)}svg text.s{font-size:11px}.g{stroke:var(--line)}.roof{fill:none;stroke:var(--roof);stroke-width:2}"
    ".axis{fill:none;stroke:#888}.tick{stroke:var(--ink);stroke-width:3}.best{fill:var(--best);background:var(--best);stroke:var(--best)}"
    ".first{fill:var(--first);background:var(--first);stroke:var(--first)}.plain{fill:var(--plain);background:var(--plain);stroke:var(--plain)}"
    "rect,circle{stroke-width:0}.hollow{fill-opacity:.12;stroke-width:1}.early{fill-opacity:.45}.key{display:inline-block;width:22px;height:10px;margin:0 4px 0 0}"
    ".panels{display:flex;flex-wrap:wrap;gap:12px}.panel{flex:1 1 430px;max-width:470px;border:1px solid var(--line);padding:6px 10px}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:2px 6px;border-bottom:1px solid var(--line);text-align:left}td.w{min-width:190px}"
    "td.w,details td{overflow-wrap:anywhere}td.n{text-align:right;white-space:nowrap}summary{cursor:pointer;font-size:13px}</style>\n";

/* Of all layers; lists may give each its own. */
static const char *target_of(const convgen_context *c, const cli_report_row *rows, int count)
{
    const char *one = c->target.name;
    for (int i = 0; i < count; i++) {
        const char *its = rows[i].np->target[0] ? rows[i].np->target : c->target.name;
        if (i && strcmp(one, its) != 0)
            return "as each layer says";
        one = its;
    }
    return one;
}

/* All that the page is made of. */
typedef struct paper {
    const cli_arguments *a;
    convgen_context *c;
    const cli_report *report;
    const cli_report_row *rows;
    int count;
    beside *all;
    cg_schedule_list *lists;
} paper;

static void ask_generator(const paper *p)
{
    double seconds = p->report->hurry ? 0 : plain_all;
    for (int i = 0; i < p->count; i++) {
        cg_target target;
        cg_request request;
        if (cli_request(p->c, p->a, p->rows[i].np, &target, &request) == CONVGEN_OK)
            (void)cg_script_schedules(p->c->script, &request, &p->lists[i]); /* without it the layer has no candidates to show */
        cli_progress("report: [%d/%d]", i + 1, p->count);
        p->all[i] = beside_of(p->c, p->a, trials_of(p->report, i), &p->rows[i], &p->lists[i], &seconds);
    }
    cli_progress_end();
}

static void page(cg_buffer *b, const paper *p)
{
    ask_generator(p);
    cg_buffer_printf(b, "%s<h1>convgen tune: %d layer%s</h1><p>", head, p->count, p->count == 1 ? "" : "s");
    plot_escaped(b, p->c->machine.name);
    cg_buffer_printf(b, ", target %s, convgen %s\n", target_of(p->c, p->rows, p->count), CONVGEN_VERSION);
    table(b, p->report, p->rows, p->count);
    roofline(b, p->rows, p->count, cli_bandwidth(p->c));
    times(b, p->rows, p->all, p->count);
    cg_buffer_printf(b, "<h2>Candidates</h2><p>The measured time against the estimate of each that was tried. The green one was chosen, in "
                        "a final against the other full dots. Pale dots were timed briefly and dropped before it: one that lies a few percent below the green one "
                        "met a quiet moment of the machine. Both scales are logarithmic.<div class=panels>\n");
    for (int i = 0; i < p->count; i++)
        candidates(b, p->report, i, &p->rows[i], &p->lists[i]);
    cg_buffer_printf(b, "</div>");
    errors(b, p->rows, p->count);
    cg_buffer_printf(b, "</html>\n");
}

int cli_report_write(const cli_arguments *a, convgen_context *c, const cli_report *report, const cli_report_row *rows, int count)
{
    cg_buffer b = { 0 };
    paper p = { a, c, report, rows, count, cg_calloc((size_t)count, sizeof *p.all), cg_calloc((size_t)count, sizeof *p.lists) };
    int status = CLI_DONE;
    if (p.all && p.lists)
        page(&b, &p);
    if (!p.all || !p.lists || b.failed || report->trials.failed)
        status = cli_wrong(a, "no memory for the report");
    FILE *f = status ? NULL : fopen(a->report, "w");
    bool good = f && fwrite(b.text, 1, b.length, f) == b.length;
    good = f && fclose(f) == 0 && good;
    if (!status && !good)
        status = cli_wrong(a, "cannot write the report to %s: %s", a->report, strerror(errno));
    for (int i = 0; p.lists && i < count; i++)
        cg_free(p.lists[i].at);
    cg_free(p.lists);
    cg_free(p.all);
    cg_buffer_free(&b);
    return status;
}
