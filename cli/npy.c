/* npy.c: arrays in files as NumPy writes them: versions 1.0 and 2.0, little-endian f4, f8 and i8, in C order.
 *
 * A file is read when it is exactly what is asked for; nothing else is converted. Its header is taken apart letter by letter: it is a
 * Python expression, and nothing of it is executed. */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 10, MOST_HEADER = 1 << 16, AXES = 32 };

static const char *descr_of(convgen_type type) { return type == CONVGEN_I64 ? "<i8" : type == CONVGEN_F64 ? "<f8" : "<f4"; }

static void dims_text(const int64_t *dims, int rank, char text[CG_TEXT])
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < rank && used < CG_TEXT - 24; i++)
        used += (size_t)snprintf(text + used, CG_TEXT - used, "%s%lld", i ? "x" : "", (long long)dims[i]);
    if (rank == 0)
        snprintf(text, CG_TEXT, "scalar");
}

void cli_shape_text(const convgen_port *p, char text[CG_TEXT])
{
    char dims[CG_TEXT];
    dims_text(p->dims, p->rank, dims);
    snprintf(text, CG_TEXT, "%s %.480s", p->type == CONVGEN_I64 ? "i64" : cg_types[p->type].name, dims);
}

/* ---- file -> array ---- */

typedef struct header {
    char descr[16];
    bool fortran;
    int rank;
    int64_t dims[AXES];
} header;

typedef struct cursor {
    const char *at;
} cursor;

static bool take(cursor *c, const char *word)
{
    while (*c->at == ' ')
        c->at++;
    size_t length = strlen(word);
    if (strncmp(c->at, word, length))
        return false;
    c->at += length;
    return true;
}

/* A text between quotes, without escapes. */
static bool take_quoted(cursor *c, char *out, size_t size)
{
    if (!take(c, "'"))
        return false;
    size_t length = strcspn(c->at, "'\\");
    if (length >= size || c->at[length] != '\'')
        return false;
    memcpy(out, c->at, length);
    out[length] = 0;
    c->at += length + 1;
    return true;
}

static bool take_dims(cursor *c, header *h)
{
    if (!take(c, "("))
        return false;
    while (!take(c, ")")) {
        char *end;
        errno = 0;
        if (h->rank == AXES || !take(c, "") || *c->at < '0' || *c->at > '9')
            return false;
        h->dims[h->rank++] = strtoll(c->at, &end, 10);
        c->at = end;
        if (errno || (!take(c, ",") && *c->at != ')'))
            return false;
    }
    return true;
}

static bool take_entry(cursor *c, header *h, int *seen)
{
    char key[32];
    if (!take_quoted(c, key, sizeof key) || !take(c, ":"))
        return false;
    if (!strcmp(key, "descr"))
        return *seen |= 1, take_quoted(c, h->descr, sizeof h->descr);
    if (!strcmp(key, "shape"))
        return *seen |= 2, take_dims(c, h);
    h->fortran = take(c, "True");
    return *seen |= 4, !strcmp(key, "fortran_order") && (h->fortran || take(c, "False"));
}

static bool take_header(const char *text, header *h)
{
    cursor c = { text };
    int seen = 0;
    if (!take(&c, "{"))
        return false;
    while (!take(&c, "}")) {
        if (!take_entry(&c, h, &seen) || (!take(&c, ",") && *c.at != '}'))
            return false;
    }
    return seen == 7;
}

/* The header's text, and where the data begin. */
static cg_status read_header(FILE *file, const char *path, header *h)
{
    unsigned char head[HEAD + 2] = { 0 };
    char text[MOST_HEADER + 1];
    bool good = fread(head, 1, HEAD, file) == HEAD && !memcmp(head, "\x93NUMPY", 6) && (head[6] == 1 || head[6] == 2) && head[7] == 0;
    size_t length = good ? (size_t)head[8] | (size_t)head[9] << 8 : 0;
    if (good && head[6] == 2) {
        good = fread(head + HEAD, 1, 2, file) == 2;
        length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    }
    if (!good)
        return cg_fail(CONVGEN_STORE, "%s is no .npy file of version 1.0 or 2.0", path);
    if (length > MOST_HEADER || fread(text, 1, length, file) != length)
        return cg_fail(CONVGEN_STORE, "%s is cut short, or its header is longer than %d bytes", path, MOST_HEADER);
    text[length] = 0;
    *h = (header){ .rank = 0 };
    return take_header(text, h) ? CONVGEN_OK : cg_fail(CONVGEN_STORE, "%s: its header is not what NumPy writes", path);
}

static cg_status check_header(const char *path, const header *h, const convgen_port *port)
{
    char has[CG_TEXT], wants[CG_TEXT];
    bool same = h->rank == port->rank && !memcmp(h->dims, port->dims, (size_t)h->rank * sizeof *h->dims);
    dims_text(h->dims, h->rank, has);
    cli_shape_text(port, wants);
    if (!same || strcmp(h->descr, descr_of(port->type)))
        return cg_fail(CONVGEN_STORE, "%s has %s %s; %s is %s (%s)", path, h->descr, has, port->name, wants, descr_of(port->type));
    if (h->fortran && h->rank > 1)
        return cg_fail(CONVGEN_STORE, "%s is in Fortran's order; C's is read (numpy.ascontiguousarray)", path);
    return CONVGEN_OK;
}

cg_status cli_npy_read(const char *path, const convgen_port *port, void *data)
{
    header h;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return cg_fail(CONVGEN_STORE, "cannot read %s: %s", path, strerror(errno));
    cg_status status = read_header(file, path, &h);
    if (!status)
        status = check_header(path, &h, port);
    size_t bytes = (size_t)cg_port_bytes(port);
    if (!status && (fread(data, 1, bytes, file) != bytes || fgetc(file) != EOF))
        status = cg_fail(CONVGEN_STORE, "%s has not as many bytes as its header says", path);
    fclose(file);
    return status;
}

/* ---- array -> file ---- */

/* Version 1.0; the data begin at a multiple of 64 bytes. */
cg_status cli_npy_format(const convgen_port *port, const void *data, cg_buffer *out)
{
    cg_buffer text = { 0 };
    cg_buffer_printf(&text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(port->type));
    for (int i = 0; i < port->rank; i++)
        cg_buffer_printf(&text, "%lld%s", (long long)port->dims[i], port->rank == 1 ? "," : i + 1 < port->rank ? ", " : "");
    cg_buffer_printf(&text, "), }");
    while (!text.failed && (HEAD + text.length + 1) % 64)
        cg_buffer_add(&text, " ", 1);
    cg_buffer_add(&text, "\n", 1);
    const unsigned char head[HEAD] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)text.length, (unsigned char)(text.length >> 8) };
    cg_buffer_add(out, (const char *)head, HEAD);
    if (text.text)
        cg_buffer_add(out, text.text, text.length);
    cg_buffer_add(out, data, (size_t)cg_port_bytes(port));
    out->failed |= text.failed;
    cg_buffer_free(&text);
    return out->failed ? cg_fail(CONVGEN_NO_MEMORY, "no memory for the file of %s", port->name) : CONVGEN_OK;
}
