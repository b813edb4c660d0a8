/* output.c: sentences and progress to stderr, tables and JSON to stdout.
 *
 * Text that came from outside (names, reasons) is shown without its control characters. Widths count UTF-8 characters. */
#include "cli.h"
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- sentences ---- */

static void plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

static void say(const cli_arguments *a, const char *format, va_list arguments)
{
    char sentence[4096]; /* words of the command line are in it: no control characters to the terminal */
    vsnprintf(sentence, sizeof sentence, format, arguments);
    plain(sentence);
    cli_progress_end();
    fprintf(stderr, "convgen %s: %s\n", a->verb->name, sentence);
}

int cli_wrong(const cli_arguments *a, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(a, format, arguments);
    va_end(arguments);
    return CLI_WRONG;
}

int cli_usage(const cli_arguments *a, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(a, format, arguments);
    va_end(arguments);
    return CLI_USAGE;
}

/* What the command can do about the last error and the library's other users cannot: theirs is no option. */
const char *cli_advice(const cli_arguments *a)
{
    return cg_error_status() == CONVGEN_NO_EXEC && !a->compiler ? "; --compiler=cc loads kernels from files instead" : "";
}

int cli_failed(const cli_arguments *a)
{
    return cli_wrong(a, "%s%s", cg_error_text(), cli_advice(a));
}

/* ---- progress ---- */

static bool progress_is_shown;

static int terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/* Bytes of the first `characters` characters. */
static int bytes_of(const char *text, int characters)
{
    int i = 0;
    for (; text[i]; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80 && characters-- == 0)
            break;
    return i;
}

static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

void cli_progress(const char *format, ...)
{
    char line[1024];
    if (!isatty(STDERR_FILENO))
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    plain(line);
    fprintf(stderr, "\r%.*s\033[K", bytes_of(line, terminal_width() - 1), line);
    fflush(stderr);
    progress_is_shown = true;
}

void cli_progress_end(void)
{
    if (progress_is_shown)
        fputs("\r\033[K", stderr);
    progress_is_shown = false;
}

/* ---- tables ---- */

void cli_table_begin(cli_table *t, const cli_column *columns, int count)
{
    memset(t, 0, sizeof *t);
    t->columns = columns;
    t->count = count;
    for (int i = 0; i < count; i++)
        t->width[i] = width_of(columns[i].title);
}

void cli_cell(cli_table *t, const char *format, ...)
{
    char text[CG_TEXT + CG_WHY];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    plain(text);
    int *width = &t->width[t->next++ % t->count];
    if (width_of(text) > *width)
        *width = width_of(text);
    cg_buffer_add(&t->cells, text, strlen(text) + 1);
}

static void three_digits(char text[24], double value, const char *unit)
{
    int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(text, 24, "%.*f %s", decimals, value, unit);
}

void cli_time_text(char text[24], double ns)
{
    static const struct {
        double below, unit;
        const char *name;
    } units[] = { { 999.5, 1, "ns" }, { 999.5e3, 1e3, "us" }, { 999.5e6, 1e6, "ms" }, { INFINITY, 1e9, "s" } };
    int i = 0;
    while (i < 3 && ns >= units[i].below)
        i++;
    three_digits(text, ns / units[i].unit, units[i].name);
}

void cli_cell_time(cli_table *t, double ns)
{
    char text[24] = "-";
    if (isfinite(ns) && ns > 0)
        cli_time_text(text, ns);
    cli_cell(t, "%s", text);
}

void cli_cell_number(cli_table *t, const char *format, double value)
{
    char text[48] = "-";
    if (isfinite(value))
        snprintf(text, sizeof text, format, value); /* formats are literals of this command */
    cli_cell(t, "%s", text);
}

static void print_cell(const cli_table *t, int column, const char *text)
{
    int fill = t->width[column] - width_of(text);
    bool right = t->columns[column].right, last = column == t->count - 1;
    printf("%s%*s%s%*s%s", column ? "  " : "", right ? fill : 0, "", text, right || last ? 0 : fill, "", last ? "\n" : "");
}

int cli_table_end(cli_table *t)
{
    int status = CLI_DONE;
    if (t->cells.failed) {
        fprintf(stderr, "convgen: no memory for the table\n");
        status = CLI_WRONG;
    } else if (t->next) {
        for (int i = 0; i < t->count; i++)
            print_cell(t, i, t->columns[i].title);
        const char *cell = t->cells.text;
        for (int i = 0; i < t->next; i++, cell += strlen(cell) + 1)
            print_cell(t, i % t->count, cell);
    }
    cg_buffer_free(&t->cells);
    return status;
}

/* ---- JSON ---- */

static bool json_first;

static void json_key(const char *key)
{
    printf("%s\"%s\":", json_first ? "" : ",", key);
    json_first = false;
}

/* Length of the valid UTF-8 sequence at `s`, 0 when there is none. */
static int sequence(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3 : s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
    return overlong || beyond ? 0 : n;
}

static void json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int n = sequence(s);
        if (n == 0)
            fputs("\\ufffd", stdout);
        else if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if (*s < ' ')
            printf("\\u%04x", *s);
        else
            fwrite(s, 1, (size_t)n, stdout);
        s += n ? n : 1;
    }
    putchar('"');
}

void cli_json_begin(void)
{
    putchar('{');
    json_first = true;
}

void cli_json_text(const char *key, const char *value)
{
    json_key(key);
    json_string(value);
}

void cli_json_number(const char *key, double value)
{
    json_key(key);
    if (isfinite(value))
        printf(value == floor(value) && fabs(value) < 1e15 ? "%.0f" : "%.9g", value);
    else
        fputs("null", stdout);
}

void cli_json_flag(const char *key, bool value)
{
    json_key(key);
    fputs(value ? "true" : "false", stdout);
}

void cli_json_end(void)
{
    fputs("}\n", stdout);
    fflush(stdout);
}

double cli_gflops(const cg_named_problem *np, double ns)
{
    return ns > 0 ? 2 * cg_problem_sizes(&np->problem).macs / ns : NAN;
}

static double or_null(double value)
{
    return value > 0 ? value : NAN;
}

/* Where a result's figures come from; null when there are none. */
static void json_origin(const char *key, bool known, bool recorded)
{
    if (known)
        cli_json_text(key, recorded ? "recorded" : "measured");
    else
        cli_json_number(key, NAN);
}

void cli_json_result_begin(const cli_result *r)
{
    const convgen_problem *p = &r->np->problem;
    const struct {
        const char *key, *value;
    } texts[] = {
        { "name", r->np->name },           { "problem", r->record->problem },
        { "op", cg_op_name(p->op) },
        { "dir", cg_pass_name(p) },        { "dt", cg_type_name(p->type) },
        { "tag", cg_tag_name(p->layout) }, { "weights", cg_weights_name(p->weights) },
        { "accuracy", cg_accuracy_name(p->accuracy) }, { "target", r->record->target },
        { "family", r->record->family },   { "schedule", r->record->schedule },
        { "form", r->record->form },       { "compiler", r->record->compiler },
    };
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        { "threads", r->record->threads },
        { "count", (double)r->np->multiplicity },
        { "macs", cg_problem_sizes(p).macs },
        { "ns_min", or_null(r->ns_min) },
        { "ns_median", or_null(r->ns_median) },
        { "gflops", cli_gflops(r->np, r->ns_min) },
        { "peak_gflops", or_null(r->peak) },
        { "error_normwise", r->record->error_normwise },
        { "error_vs_loop", r->record->error_vs_loop },
        { "error_vs_bound", r->record->error_vs_bound },
        { "candidates", r->candidates },
        { "refused", r->refused },
        { "seconds", r->seconds },
    };
    cli_json_begin();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cli_json_text(texts[i].key, texts[i].value);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cli_json_number(numbers[i].key, numbers[i].value);
    cli_json_flag("complete", !r->record->cut_after);
    cli_json_text("conditions", r->record->network ? "network" : "warm");
    json_origin("times", r->ns_min > 0, r->times_recorded);
    json_origin("errors", isfinite(r->record->error_normwise) || isfinite(r->record->error_vs_loop), r->errors_recorded);
}

void cli_json_result(const cli_result *r)
{
    cli_json_result_begin(r);
    cli_json_end();
}
