/* machine_file.c: reads the line that `convgen machine --json` printed on another machine.
 *
 * One flat JSON object; only what the generator and the records ask for is taken. Numbers are checked. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 64 << 10 };

static const char *skip_space(const char *s) { return s + strspn(s, " \t\r\n"); }

/* The value of a key: where its text begins; NULL when it is not there. Keys are looked for as the command writes them. */
static const char *value_of(const char *json, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    for (const char *at = strstr(json, quoted); at; at = strstr(at + 1, quoted)) {
        const char *colon = skip_space(at + strlen(quoted));
        if (*colon == ':')
            return skip_space(colon + 1);
    }
    return NULL;
}

static cg_status lacks(const char *path, const char *key, const char *allowed)
{
    return cg_fail(CONVGEN_BAD_ARGUMENT, "%.200s: no \"%s\" that is %s; the file must be what `convgen machine --json` prints", path, key,
                   allowed);
}

static cg_status get_text(const char *path, const char *json, const char *key, char *out, size_t size)
{
    const char *value = value_of(json, key);
    size_t length = value && *value == '"' ? strcspn(value + 1, "\"\\") : size;
    if (length >= size || value[1 + length] != '"')
        return lacks(path, key, "a text without escapes");
    memcpy(out, value + 1, length);
    out[length] = 0;
    return CONVGEN_OK;
}

static cg_status get_number(const char *path, const char *json, const char *key, long most, long *out)
{
    const char *value = value_of(json, key);
    char *end = NULL;
    long long number = value ? strtoll(value, &end, 10) : -1;
    if (!value || end == value || number < 0 || number > most || (*skip_space(end) != ',' && *skip_space(end) != '}'))
        return lacks(path, key, "a whole number");
    *out = (long)number;
    return CONVGEN_OK;
}

/* Those that were measured there; null, absent or beyond all sense: what the target's row assumes. */
static void get_rates(const char *json, double rate[CG_RATES])
{
    char key[32];
    for (int r = 0; r < CG_RATES; r++) {
        snprintf(key, sizeof key, "rate_%s", cg_rate_rows[r].name);
        const char *value = value_of(json, key);
        char *end = NULL;
        rate[r] = value ? cg_read_real(value, &end) : 0;
    }
    cg_rates_check(rate);
}

static cg_status read_fields(const char *path, const char *json, cg_machine *m)
{
    const struct {
        const char *key;
        char *out;
        size_t size;
    } texts[] = { { "machine", m->key, sizeof m->key }, { "name", m->name, sizeof m->name },
                  { "vendor", m->vendor, sizeof m->vendor }, { "features", m->features, sizeof m->features } };
    long line = 64;
    const struct {
        const char *key;
        long most, *out;
    } numbers[] = { { "l1d", 1L << 40, &m->l1d }, { "l2", 1L << 40, &m->l2 }, { "l3", 1L << 40, &m->l3 }, { "line", 4096, &line } };
    cg_status status = CONVGEN_OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && !status; i++)
        status = get_text(path, json, texts[i].key, texts[i].out, texts[i].size);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !status; i++)
        status = get_number(path, json, numbers[i].key, numbers[i].most, numbers[i].out);
    get_rates(json, m->rate);
    m->line = (int)line;
    m->cores = 1;
    if (!status && (!m->key[0] || strcspn(m->key, " \t\r\n") != strlen(m->key)))
        return lacks(path, "machine", "one word");
    return status;
}

cg_status cli_read_machine(const char *path, cg_machine *out)
{
    cg_buffer text = { 0 };
    cg_machine m = { 0 };
    cg_status status = cg_read_file(path, FILE_BYTES, &text);
    if (!status)
        status = read_fields(path, text.text ? text.text : "", &m);
    if (!status)
        *out = m;
    cg_buffer_free(&text);
    return status;
}
