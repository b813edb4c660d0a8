/* run.c: convgen run: a network on arrays of files, to files.
 *
 * Inputs are read and checked before anything runs. Outputs are written beside their places and moved there when all of them are whole. */
#include "cli.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* DIR/NAME.npy; what is no letter, digit, _ or . becomes _. */
static void add_path(cg_buffer *path, const char *folder, const char *name, const char *ending)
{
    cg_buffer_printf(path, "%s/", folder);
    for (; *name; name++) {
        bool plain = strchr("_.", *name) || (*name >= '0' && *name <= '9') || (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
        cg_buffer_add(path, plain ? name : "_", 1);
    }
    cg_buffer_printf(path, ".npy%s", ending);
}

static char *path_of(const cli_arguments *a, const convgen_network *n, int i, const char *ending)
{
    cg_buffer path = { 0 };
    add_path(&path, a->output, n->outputs[i].name, ending);
    if (path.failed)
        cg_buffer_free(&path);
    return path.text;
}

static cg_status write_file(const char *path, const cg_buffer *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return cg_fail(CONVGEN_STORE, "cannot write %s: %s", path, strerror(errno));
    size_t done = 0;
    ssize_t wrote = 1;
    while (done < text->length && (wrote > 0 || errno == EINTR)) {
        wrote = write(fd, text->text + done, text->length - done);
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    bool closed = !close(fd);
    return done == text->length && closed ? CONVGEN_OK : cg_fail(CONVGEN_STORE, "cannot write %s: %s", path, strerror(errno));
}

static cg_status write_draft(const cli_arguments *a, const convgen_network *n, const cli_arrays *x, int i)
{
    cg_buffer text = { 0 };
    char *path = path_of(a, n, i, ".draft");
    cg_status status = path ? cli_npy_format(&n->outputs[i], x->outputs[i], &text) : cg_fail(CONVGEN_NO_MEMORY, "no memory for a path");
    if (!status)
        status = write_file(path, &text);
    cg_buffer_free(&text);
    cg_free(path);
    return status;
}

/* Moves a draft to its place, or removes it. */
static cg_status settle(const cli_arguments *a, const convgen_network *n, int i, bool keep)
{
    char *draft = path_of(a, n, i, ".draft"), *path = path_of(a, n, i, "");
    cg_status status = draft && path ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "no memory for a path");
    if (!status && keep && rename(draft, path))
        status = cg_fail(CONVGEN_STORE, "cannot write %s: %s", path, strerror(errno));
    if (draft && (!keep || status))
        (void)unlink(draft);
    cg_free(draft);
    cg_free(path);
    return status;
}

static cg_status check_names(const cli_arguments *a, const convgen_network *n)
{
    for (int i = 0; i < n->plan.outputs.count; i++)
        for (int j = 0; j < i; j++) {
            char *x = path_of(a, n, i, ""), *y = path_of(a, n, j, "");
            bool same = x && y && !strcmp(x, y);
            cg_free(x);
            cg_free(y);
            if (same)
                return cg_fail(CONVGEN_STORE, "outputs %s and %s would be the same file", n->outputs[j].name, n->outputs[i].name);
        }
    return CONVGEN_OK;
}

static int write_outputs(const cli_arguments *a, const convgen_network *n, const cli_arrays *x)
{
    int drafts = 0;
    cg_status status = CONVGEN_OK;
    if (mkdir(a->output, 0777) && errno != EEXIST)
        return cli_wrong(a, "cannot make the directory %s: %s", a->output, strerror(errno));
    for (; drafts < n->plan.outputs.count && !status; drafts++)
        status = write_draft(a, n, x, drafts);
    bool whole = !status;
    for (int i = 0; i < drafts; i++) {
        cg_status settled = settle(a, n, i, whole);
        status = status ? status : settled;
    }
    return status ? cli_failed(a) : CLI_DONE;
}

/* ---- the story ---- */

static int run_on(const cli_arguments *a, const convgen_network *n, cli_arrays *x)
{
    int status = cli_arrays_read(a, n, x, true);
    if (!status && check_names(a, n))
        status = cli_failed(a);
    if (!status)
        status = cli_run_network(a, n, x);
    return status ? status : write_outputs(a, n, x);
}

static int run(cli_arguments *a)
{
    convgen_network *n = NULL;
    cli_arrays x = { 0 };
    if (!a->network)
        return cli_usage(a, "no network is given: a file NAME.net; `python3 -m convgen.onnx MODEL -o NAME` makes one");
    if (!a->output)
        return cli_usage(a, "--output=DIR is missing: where the outputs are to be");
    if (a->effort && strcmp(a->effort, "recall") && strcmp(a->effort, "estimate"))
        return cli_usage(a, "--effort=%s: run takes recall or estimate; `convgen tune` measures", a->effort);
    int status = cli_network_open(a, &n) || cli_arrays_new(n, &x) ? cli_failed(a) : run_on(a, n, &x);
    cli_arrays_free(n, &x);
    convgen_network_free(n);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    OPTION("--input", "NAME=FILE", CLI_MANY, AT(inputs), "an input's array, as NumPy saves it (.npy); once for each input"),
    OPTION("--output", "DIR", CLI_TEXT, AT(output), "where each output becomes NAME.npy; made if it is not there"),
    CLI_OF_A_PROBLEM("--accuracy", "A", CG_ACCURACY_LIST "; of every convolution", .choices = CG_ACCURACY_WORDS),
    CLI_OF_A_PROBLEM("--threads", "N", "threads (default 1)"),
    CLI_OF_A_PROBLEM("--target", "T", CLI_TARGET_HELP, .choices = CG_TARGET_WORDS),
    OPTION("--effort", "E", CLI_TEXT, AT(effort),
           "estimate (the default: what is remembered, else the best estimate) or recall: fails where a convolution is not remembered",
           .choices = "estimate recall"),
    CLI_STORE,
    { .name = NULL },
};

const cli_verb cli_run = {
    .name = "run", .arguments = "NETWORK.net --input=NAME=FILE.npy ... --output=DIR", .summary = "run a network on arrays in files",
    .text =
      "NETWORK.net is a network's file, as `python3 -m convgen.onnx MODEL -o NAME` writes it, with its weights beside it. Inputs\n"
      "are little-endian float32, float64 or int64 arrays in C order, of the shapes of the network's inputs. Letters of an output's\n"
      "name other than a-z, A-Z, 0-9, _ and . become _.",
    .options = options, .networks = true, .run = run,
};
