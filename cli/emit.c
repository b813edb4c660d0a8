/* emit.c: convgen emit: a network's layers, or a network's file whole -> a directory of C that needs nothing of convgen.
 *
 * Here schedules are chosen: a record of the form that is emitted, else one of the other form, else the best estimate. The
 * texts are the generator's; nothing is compiled or run, but what others recorded is sampled where it can run. */
#include "cli.h"
#include <math.h>
#include <string.h>

/* Why a kernel has its schedule, best first. */
enum { TUNED, TUNED_OTHERWISE, ESTIMATED, ESTIMATED_ANEW, ORIGINS }; /* the last: it has a record that is not used */

typedef struct choice {
    char schedule[CG_NAME], from[CG_WHY], why[CG_WHY]; /* why: its record is not used */
    int origin;
    cg_record record;
} choice;

typedef struct desk {
    const cli_arguments *a;
    convgen_context *c;
    cg_machine machine; /* what it is emitted for */
    cg_target target[CG_TARGETS];
    cg_network network;
    choice *choices; /* of layer i, target t: i * target_count + t */
    cg_emit_layer *layers;
    cg_problem_list list; /* the layers: those of the words, or the convolutions of a network's file */
    cg_emit_whole whole;  /* of a network's file, with its text, layer_of and weights */
    cg_buffer text;
    int *layer_of;
    void *weights;
    cli_folder folder;
} desk;

/* ---- what is asked for ---- */

static bool is_name(const char *s)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", others[] = "0123456789_";
    if (!*s || !strchr(letters, *s) || strlen(s) > 32)
        return false;
    for (; *s; s++)
        if (!strchr(letters, *s) && !strchr(others, *s))
            return false;
    return true;
}

static int check_options(const cli_arguments *a)
{
    if (!a->output)
        return cli_usage(a, "where to? -o DIR names the directory to write");
    if (!a->prefix)
        return cli_usage(a, "--prefix=NAME is missing: what all names in C begin with");
    if (!is_name(a->prefix) || strcmp(a->prefix, "cg") == 0 || strncmp(a->prefix, "cg_", 3) == 0)
        return cli_usage(a, "--prefix=%s: at most 32 letters, digits and _, a letter first, and not cg, are allowed", a->prefix);
    if (a->form && strcmp(a->form, "c") != 0 && strcmp(a->form, "asm") != 0)
        return cli_usage(a, "--form=%s: the forms are c and asm", a->form);
    if (a->sharing && strcmp(a->sharing, "none") != 0 && strcmp(a->sharing, "openmp") != 0)
        return cli_usage(a, "--threads=%s: emit takes none or openmp; a list gives layers a number of threads", a->sharing);
    if (a->network && a->sharing && strcmp(a->sharing, "none") != 0)
        return cli_usage(a, "--threads=%s: a network runs on the thread that calls it: none is allowed", a->sharing);
    if (a->embed && !a->network)
        return cli_usage(a, "--embed: only a network's file NAME.net has weights to embed");
    for (int i = 0; i < a->problems.count; i++)
        if (a->problems.at[i].target[0])
            return cli_wrong(a, "a list says --target=%s, but all layers of an emitted network have the same targets: emit's --target",
                             a->problems.at[i].target);
    return CLI_DONE;
}

static cg_status add_target(desk *d, const char *name)
{
    cg_network *n = &d->network;
    cg_target t;
    cg_status status = cg_script_target(d->c->script, NULL, name, &t);
    if (status)
        return status;
    int at = n->target_count;
    for (int i = 0; i < n->target_count; i++)
        if (!strcmp(d->target[i].name, t.name))
            return CONVGEN_OK;
    if (at == CG_TARGETS)
        return cg_fail(CONVGEN_UNSUPPORTED, "too many targets: %d are allowed", CG_TARGETS);
    for (; at > 0 && d->target[at - 1].bits < t.bits; at--) /* the widest first */
        d->target[at] = d->target[at - 1];
    d->target[at] = t;
    n->target_count++;
    return CONVGEN_OK;
}

static cg_status named_targets(desk *d)
{
    static const cg_machine bare; /* lacks everything: its target is the one that runs everywhere */
    char name[16];
    cg_target t;
    cg_status status = cg_script_target(d->c->script, &bare, NULL, &t);
    if (!status)
        status = add_target(d, t.name);
    if (!d->a->targets && !status) {
        t = d->c->target; /* what is tuned on this machine when nothing is said */
        if (d->network.elsewhere)
            status = cg_script_target(d->c->script, &d->machine, NULL, &t);
        return status ? status : add_target(d, t.name);
    }
    for (const char *word = d->a->targets; word && *word && !status;) {
        size_t length = strcspn(word, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < 15 ? length : 15), word);
        status = *name ? add_target(d, name) : cg_fail(CONVGEN_UNSUPPORTED, "--target=%s: a target between two commas is missing", d->a->targets);
        word += length + (word[length] == ',' && word[length + 1]);
        if (*word == ',')
            status = cg_fail(CONVGEN_UNSUPPORTED, "--target=%s: a target between two commas is missing", d->a->targets);
    }
    return status;
}

/* The portable one is the last. */
static cg_status choose_targets(desk *d)
{
    cg_status status = named_targets(d);
    if (status || !d->a->no_portable)
        return status;
    if (d->network.target_count == 1)
        return cg_fail(CONVGEN_UNSUPPORTED, "--no-portable leaves no kernels: portable is the only target here; --target= takes " CG_TARGET_LIST);
    d->network.target_count--;
    return CONVGEN_OK;
}

static cg_status choose_machine(desk *d)
{
    d->machine = d->c->machine;
    d->network.elsewhere = d->a->machine != NULL;
    return d->network.elsewhere ? cli_read_machine(d->a->machine, &d->machine) : CONVGEN_OK;
}

/* ---- problem, target -> schedule ---- */

static int threads_of(const desk *d, const cg_named_problem *np) { return d->network.openmp && np->threads > 0 ? np->threads : 1; }

static const char *form_of(const desk *d, const cg_target *t)
{
    return strcmp(d->network.form, "asm") == 0 && t->machine ? "machine" : "c";
}

/* Whether what was not measured here can be sampled here. */
static bool runs_here(const desk *d, const cg_target *t)
{
    cg_target same;
    return !d->network.elsewhere && cg_script_target(d->c->script, &d->c->machine, t->name, &same) == CONVGEN_OK;
}

/* A record that may be used, of the form; `why` says why there is one that may not. */
static cg_status find_record(desk *d, const cg_named_problem *np, const cg_target *t, const char *form, cg_record *out, char why[CG_WHY])
{
    cg_record key = { .threads = threads_of(d, np) };
    cg_recalled found = { 0 };
    const char *compiler = strcmp(form, "machine") == 0 ? "tcc" : d->a->compiler ? d->a->compiler : "cc";
    snprintf(key.machine, sizeof key.machine, "%s", d->machine.key);
    snprintf(key.target, sizeof key.target, "%s", t->name);
    snprintf(key.form, sizeof key.form, "%s", form);
    snprintf(key.compiler, sizeof key.compiler, "%s", compiler);
    snprintf(key.generator, sizeof key.generator, "%s", d->c->generator);
    cg_status status = convgen_problem_format(&np->problem, key.problem, sizeof key.problem);
    if (!status)
        status = cg_recall(d->c, &np->problem, &key, &found);
    if (!status && runs_here(d, t))
        status = cli_sample(d->c, np, &found);
    if (status == CONVGEN_NO_RECORD && found.why[0])
        snprintf(why, CG_WHY, "%s", found.why);
    *out = found.record;
    return status;
}

static void take_record(choice *ch, int origin, const char *said)
{
    char time[24];
    cli_time_text(time, ch->record.ns_min);
    snprintf(ch->schedule, sizeof ch->schedule, "%s", ch->record.schedule);
    snprintf(ch->from, sizeof ch->from, "%s: recorded %s", said, time);
    ch->origin = origin;
}

static cg_status estimate(desk *d, const cg_named_problem *np, const cg_target *t, const char *why, choice *ch)
{
    cg_request r = { .problem = &np->problem, .machine = &d->machine, .target = t->name, .form = form_of(d, t), .threads = threads_of(d, np),
                     .steady = true };
    cg_schedule_list list = { 0 };
    char text[CG_TEXT];
    cg_status status = cg_script_schedules(d->c->script, &r, &list);
    if (!status && (list.count == 0 || list.at[0].why[0]))
        status = cg_fail(CONVGEN_NO_CANDIDATE, "%s has no schedule for %s", cli_label(np, text), t->name);
    if (!status) {
        snprintf(ch->schedule, sizeof ch->schedule, "%s", list.at[0].name);
        snprintf(ch->from, sizeof ch->from, "the best estimate: %s", why[0] ? "its record is not used" : "no record");
        ch->record.error_normwise = ch->record.error_vs_loop = ch->record.error_vs_bound = NAN;
        ch->origin = why[0] ? ESTIMATED_ANEW : ESTIMATED;
        snprintf(ch->why, sizeof ch->why, "%s", why);
    }
    cg_free(list.at);
    return status;
}

static cg_status choose(desk *d, const cg_named_problem *np, const cg_target *t, choice *ch)
{
    const bool machine = strcmp(form_of(d, t), "machine") == 0;
    char why[CG_WHY] = "";
    cg_status status = find_record(d, np, t, machine ? "machine" : "c", &ch->record, why);
    if (!status)
        take_record(ch, TUNED, "tuned in this form");
    else if (status == CONVGEN_NO_RECORD && t->machine && !(status = find_record(d, np, t, machine ? "c" : "machine", &ch->record, why)))
        take_record(ch, TUNED_OTHERWISE, machine ? "tuned in the other form, C" : "tuned in the other form, machine code");
    return status == CONVGEN_NO_RECORD ? estimate(d, np, t, why, ch) : status;
}

/* ---- a network's file -> layers ---- */

/* The layer that a problem is: one of before, or a new one. */
static cg_status layer_for(desk *d, const cg_named_problem *np, int *layer)
{
    for (*layer = 0; *layer < d->list.count; ++*layer)
        if (cg_problem_equal(&d->list.at[*layer].problem, &np->problem)) {
            d->list.at[*layer].multiplicity++;
            return CONVGEN_OK;
        }
    return cg_list_add(&d->list, np);
}

static cg_status list_layers(desk *d, const cg_network_plan *plan)
{
    cg_status status = CONVGEN_OK;
    d->layer_of = cg_calloc((size_t)plan->count, sizeof *d->layer_of);
    if (!d->layer_of)
        return cg_fail(CONVGEN_NO_MEMORY, "no memory for %d operations", plan->count);
    for (int i = 0; i < plan->count && !status; i++) {
        cg_named_problem np;
        d->layer_of[i] = -1;
        if (plan->at[i].problem && !(status = cli_network_problem(d->a, &plan->at[i], &np)))
            status = layer_for(d, &np, &d->layer_of[i]);
    }
    if (!status && !d->list.count)
        status = cg_fail(CONVGEN_UNSUPPORTED, "%s: a network without a convolution is not emitted", d->a->network);
    return status;
}

static cg_status read_network(desk *d)
{
    cg_network_plan plan;
    cg_status status = cg_network_plan_of(d->c, d->a->network, &plan);
    if (!status)
        status = cg_network_read(d->a->network, &d->text);
    if (!status)
        status = cg_weights_read(d->a->network, &plan, &d->weights);
    if (!status)
        status = list_layers(d, &plan);
    size_t bytes = d->weights ? (size_t)plan.weights_bytes : 0;
    d->whole = (cg_emit_whole){ .text = d->text.text, .name = d->a->network, .length = d->text.length, .count = plan.count,
                                .layer_of = d->layer_of, .weights_bytes = (int64_t)bytes, .embed = d->a->embed,
                                .hash = bytes ? cg_crc32(d->weights, bytes) : 0 };
    d->network.whole = &d->whole;
    cg_network_plan_free(&plan);
    return status;
}

/* ---- layers -> schedules ---- */

static cg_status choose_all(desk *d)
{
    const cg_problem_list *list = &d->list;
    cg_network *n = &d->network;
    d->choices = cg_calloc((size_t)list->count * (size_t)n->target_count, sizeof *d->choices);
    d->layers = cg_calloc((size_t)list->count, sizeof *d->layers);
    if (!d->choices || !d->layers)
        return cg_fail(CONVGEN_NO_MEMORY, "no memory for %d layers", list->count);
    for (int i = 0; i < list->count; i++) {
        const cg_named_problem *np = &list->at[i];
        d->layers[i] = (cg_emit_layer){ np->name, &np->problem, threads_of(d, np), np->multiplicity, { { 0 } } };
        for (int t = 0; t < n->target_count; t++) {
            choice *ch = &d->choices[i * n->target_count + t];
            cg_status status = choose(d, np, &d->target[t], ch);
            if (status)
                return status;
            d->layers[i].kernel[t] = (cg_emit_kernel){ ch->schedule, ch->from, ch->record.error_normwise, ch->record.error_vs_loop,
                                                       ch->record.error_vs_bound };
        }
    }
    n->layer = d->layers;
    n->layer_count = list->count;
    return CONVGEN_OK;
}

/* Of the first layer whose record is not used. */
static const char *why_not_used(const desk *d, int target)
{
    for (int i = 0; i < d->network.layer_count; i++) {
        const choice *ch = &d->choices[i * d->network.target_count + target];
        if (ch->origin == ESTIMATED_ANEW)
            return ch->why;
    }
    return "";
}

/* Which kernels were not tuned as they are emitted, and what would help. */
static void report(const desk *d)
{
    const cg_network *n = &d->network;
    for (int t = 0; t < n->target_count; t++) {
        int count[ORIGINS] = { 0 };
        for (int i = 0; i < n->layer_count; i++)
            count[d->choices[i * n->target_count + t].origin]++;
        const bool machine = strcmp(form_of(d, &d->target[t]), "machine") == 0;
        const char *by = machine ? "" : " --compiler=cc";
        if (count[TUNED_OTHERWISE])
            cli_wrong(d->a, "%s: %d of %d layers have a record of the other form only; `convgen tune --target=%s%s` tunes this one",
                      d->target[t].name, count[TUNED_OTHERWISE], n->layer_count, d->target[t].name, by);
        if (count[ESTIMATED_ANEW])
            cli_wrong(d->a, "%s: %d of %d layers have a record that is not used (%s); the best estimates are taken until `convgen tune` has made "
                      "new ones", d->target[t].name, count[ESTIMATED_ANEW], n->layer_count, why_not_used(d, t));
        if (count[ESTIMATED])
            cli_wrong(d->a, "%s: %d of %d layers have no record%s; the best estimates are taken", d->target[t].name, count[ESTIMATED],
                      n->layer_count, d->network.elsewhere ? " of that machine" : "");
    }
}

/* ---- writing ---- */

static cg_status put(void *user, const char *name, const char *text, size_t length)
{
    desk *d = user;
    cli_progress("writing %s", name);
    return cli_folder_put(&d->folder, name, text, length);
}

static bool go_on(void *user)
{
    (void)user;
    return !cli_interrupted();
}

static cg_status put_named(desk *d, const char *ending, const void *data, size_t bytes)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", d->network.prefix, ending);
    return put(d, name, data, bytes);
}

/* As numbers of 32 bits, which have the weights' bytes where processors are little-endian. */
static cg_status put_embedded(desk *d)
{
    const unsigned char *w = d->weights;
    size_t bytes = (size_t)d->whole.weights_bytes;
    cg_buffer text = { 0 };
    cg_buffer_printf(&text, "/* %s_weights.c: the weights, for %s_pack. Made by convgen " CONVGEN_VERSION ". */\n#include \"%s.h\"\n\n"
                     "#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__\n#error \"weights are little-endian\"\n#endif\n\n"
                     "const unsigned int %s_weights[%zu] = {",
                     d->network.prefix, d->network.prefix, d->network.prefix, d->network.prefix, (bytes + 3) / 4);
    for (size_t i = 0; i < bytes; i += 4) {
        uint32_t word = 0;
        for (size_t k = 0; k < 4 && i + k < bytes; k++)
            word |= (uint32_t)w[i + k] << 8 * k;
        cg_buffer_printf(&text, i % 48 ? " 0x%x," : "\n    0x%x,", word);
    }
    cg_buffer_printf(&text, "\n};\n");
    cg_status status = text.failed ? cg_fail(CONVGEN_NO_MEMORY, "no memory for the weights as C") : CONVGEN_OK;
    if (!status)
        status = put_named(d, "_weights.c", text.text, text.length);
    cg_buffer_free(&text);
    return status;
}

/* Its weights, as a file, and as C. */
static cg_status put_whole(desk *d)
{
    if (!d->whole.weights_bytes)
        return CONVGEN_OK;
    cg_status status = put_named(d, ".weights", d->weights, (size_t)d->whole.weights_bytes);
    return status || !d->whole.embed ? status : put_embedded(d);
}

static cg_status write_network(desk *d)
{
    char mark[48];
    snprintf(mark, sizeof mark, "%s_selfcheck.c", d->network.prefix);
    cg_status status = cli_folder_begin(&d->folder, d->a->output, d->a->force, mark);
    if (!status)
        status = cg_script_emit(d->c->script, &d->network, put, go_on, d);
    if (!status && d->network.whole)
        status = put_whole(d);
    cli_progress_end();
    return status && status != CONVGEN_CANCELLED ? status : cli_folder_finish(&d->folder); /* which knows what was cancelled */
}

static cg_status emit_all(desk *d)
{
    cg_status status = choose_machine(d);
    if (!status)
        status = choose_targets(d);
    for (int t = 0; t < d->network.target_count; t++)
        d->network.target[t] = d->target[t].name;
    if (!status && d->a->network)
        status = read_network(d);
    if (!status)
        status = choose_all(d);
    return status ? status : write_network(d);
}

static int run(cli_arguments *a)
{
    desk d = { .a = a, .list = a->problems };
    int status = check_options(a);
    if (status)
        return status;
    d.network = (cg_network){ .prefix = a->prefix, .form = a->form ? a->form : "c", .machine = &d.machine,
                              .openmp = a->sharing && strcmp(a->sharing, "openmp") == 0 };
    cg_status result = cli_open(a, &d.c);
    if (!result)
        result = emit_all(&d);
    if (result) {
        cli_failed(a);
        status = result == CONVGEN_CANCELLED ? CLI_INTERRUPTED : CLI_WRONG;
    } else {
        report(&d);
        printf("%d layer%s written to %s\n", d.network.layer_count, d.network.layer_count == 1 ? "" : "s", d.folder.path);
    }
    if (a->network)
        cg_list_free(&d.list);
    cg_buffer_free(&d.text);
    cg_free(d.layer_of);
    cg_free(d.weights);
    cli_folder_free(&d.folder);
    convgen_close(d.c);
    cg_free(d.choices);
    cg_free(d.layers);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    CLI_BATCH,
    OPTION("-o", "DIR", CLI_TEXT, AT(output), "the directory to write; it must be new or empty"),
    OPTION("--prefix", "NAME", CLI_TEXT, AT(prefix), "what all names in C and all files begin with"),
    OPTION("--target", "T,T", CLI_TEXT, AT(targets),
           CG_TARGET_LIST ": chosen among at run time, with portable (default: the best of this machine)", .choices = CG_TARGET_WORDS),
    OPTION("--no-portable", NULL, CLI_FLAG, AT(no_portable), "leaves the portable kernels out: other processors get none"),
    OPTION("--form", "FORM", CLI_TEXT, AT(form),
           "c (the default), or asm: kernels as the instructions that libtcc's form is tuned in", .choices = "c asm"),
    OPTION("--threads", "T", CLI_TEXT, AT(sharing),
           "none (the default), or openmp: calls take a number of threads", .choices = "none openmp"),
    OPTION("--embed", NULL, CLI_FLAG, AT(embed), "of a network's file: its weights are an array in C too"),
    OPTION("--machine", "FILE", CLI_TEXT, AT(machine),
           "for another machine: FILE is what `convgen machine --json` printed there"),
    OPTION("--force", NULL, CLI_FLAG, AT(force), "replace a directory that emit made"),
    OPTION("--compiler", "CC", CLI_TEXT, AT(compiler),
           "form c: whose records are looked for (default cc)", .choices = "cc gcc clang"),
    CLI_STORE,
    { .name = NULL },
};

const cli_verb cli_emit = {
    .name = "emit", .arguments = "[options] PROBLEM... | --batch=FILE | NETWORK.net -o DIR --prefix=NAME", .summary = "write C for a network that needs nothing of convgen",
    .text =
      "Writes a directory: a header with a prototype for each layer, its kernels for each target, a self-check, a benchmark,\n"
      "CMakeLists.txt and a README. Schedules are the remembered ones, else those with the best estimate; what was tuned for\n"
      "the other form is said. What is emitted belongs to who emits it.\n"
      "Of a network's file: NAME_run, the whole network as one function, NAME_pack, which prepares its weights once, and\n"
      "NAME.weights; each of its convolutions is a layer too.",
    .options = options, .problems = true, .networks = true, .run = run,
};
