/* text.c: texts that grow, numbers in them, files.
 *
 * Numbers of a text that travels between machines have a point, whatever the host's locale says. */
#define _GNU_SOURCE
#include "base/base.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* ---- growing text ---- */

/* Room for `more` bytes and the end mark. */
static bool buffer_reserve(cg_buffer *b, size_t more)
{
    size_t need;
    if (b->failed || __builtin_add_overflow(b->length, more, &need) || __builtin_add_overflow(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (need <= b->room)
        return true;
    size_t room = b->room < 128 ? 256 : b->room * 2;
    char *text = cg_realloc(b->text, room < need ? need : room);
    if (!text) {
        b->failed = true;
        return false;
    }
    b->text = text;
    b->room = room < need ? need : room;
    return true;
}

void cg_buffer_add(cg_buffer *b, const char *text, size_t length)
{
    if (!buffer_reserve(b, length))
        return;
    if (length)
        memcpy(b->text + b->length, text, length);
    b->length += length;
    b->text[b->length] = 0;
}

void cg_buffer_printf(cg_buffer *b, const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, list);
    if (length < 0)
        b->failed = true;
    else if (buffer_reserve(b, (size_t)length)) {
        vsnprintf(b->text + b->length, (size_t)length + 1, format, again);
        b->length += (size_t)length;
    }
    va_end(again);
    va_end(list);
}

void cg_buffer_free(cg_buffer *b)
{
    cg_free(b->text);
    *b = (cg_buffer){0};
}

/* ---- files ---- */

/* Reads all of a stream that is open; the reason of a failure is left in errno, EFBIG beyond the limit. */
static bool read_all(FILE *file, size_t limit, cg_buffer *out)
{
    char part[16384];
    size_t got;
    while ((got = fread(part, 1, sizeof part, file))) {
        if (got > limit - out->length) {
            errno = EFBIG;
            return false;
        }
        cg_buffer_add(out, part, got);
        if (out->failed) {
            errno = ENOMEM;
            return false;
        }
    }
    cg_buffer_add(out, "", 0); /* an empty file is an empty text */
    if (out->failed)
        errno = ENOMEM;
    return !out->failed && !ferror(file);
}

cg_status cg_read_file(const char *path, size_t limit, cg_buffer *out)
{
    cg_status status = CONVGEN_OK;
    *out = (cg_buffer){0};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return cg_fail(CONVGEN_STORE, "cannot read %s: %s", path, strerror(errno));
    if (!read_all(file, limit, out)) {
        int reason = errno;
        status = reason == ENOMEM ? cg_fail(CONVGEN_NO_MEMORY, "no memory to read %s", path)
               : reason == EFBIG ? cg_fail(CONVGEN_STORE, "cannot read %s: larger than %zu bytes", path, limit)
                                 : cg_fail(CONVGEN_STORE, "cannot read %s: %s", path, strerror(reason));
        cg_buffer_free(out);
    }
    fclose(file);
    return status;
}

/* ---- numbers ---- */

void *cg_locale_enter(void)
{
    static locale_t neutral;
    locale_t made = __atomic_load_n(&neutral, __ATOMIC_ACQUIRE);
    if (!made) {
        made = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc's constant object: nothing to leak in a race */
        __atomic_store_n(&neutral, made, __ATOMIC_RELEASE);
    }
    return uselocale(made);
}

void cg_locale_leave(void *before)
{
    uselocale((locale_t)before);
}

double cg_read_real(const char *text, char **end)
{
    void *host = cg_locale_enter();
    double value = strtod(text, end);
    cg_locale_leave(host);
    return value;
}

void cg_write_real(double value, char text[40])
{
    void *host = cg_locale_enter();
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 40, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    cg_locale_leave(host);
}

bool cg_whole_number(const char *text, int64_t least, int64_t most, int64_t *out)
{
    int64_t value = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        value = value * 10 + (*text - '0');
        if (value > most) return false;
    }
    return value >= least && (*out = value, true);
}
