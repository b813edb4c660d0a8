/* manual.c: the manual page and the completion of bash, made from the tables that --help prints.
 *
 * `convgen --man` and `convgen --completion` print them, the build keeps them as files and `make install` installs them: an option
 * that is not in the tables is in neither, and one that is stands in both. */
#include "cli.h"
#include <ctype.h>
#include <string.h>

/* ---- the manual page ---- */

/* Text of a roff line: no character of it is a request or an escape. */
static void roff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++)
        switch (*text) {
        case '\\': fputs("\\e", stdout); break;
        case '-': fputs("\\-", stdout); break;
        case '`': fputs("\\(ga", stdout); break;
        case '\'': fputs("\\(aq", stdout); break;
        case '~': fputs("\\(ti", stdout); break;
        default: putchar(*text);
        }
}

static void roff_line(const char *text)
{
    roff(text);
    putchar('\n');
}

static void roff_option(const cli_option *o)
{
    fputs(".TP\n\\fB", stdout);
    roff(o->name);
    fputs("\\fR", stdout);
    if (o->value) {
        fputs(o->name[1] == '-' ? "=\\fI" : " \\fI", stdout);
        roff(o->value);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    roff_line(o->help);
}

/* A paragraph of --help; its lines stay where it is a list. */
static void roff_text(const char *text)
{
    char line[160];
    bool list = *text == ' ';
    puts(list ? ".PP\n.nf" : ".PP");
    for (size_t n; *text; text += n + (text[n] == '\n')) {
        n = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)n, text);
        roff_line(line);
    }
    if (list)
        puts(".fi");
}

static void roff_verb(const cli_verb *verb)
{
    const cli_option *o;
    printf(".SS convgen %s ", verb->name);
    roff_line(verb->arguments);
    putchar(toupper(verb->summary[0]));
    roff(verb->summary + 1);
    puts(".");
    roff_text(verb->text);
    for (int i = 0; (o = cli_option_at(verb, i)); i++)
        if (!o->of_problems)
            roff_option(o);
}

static void roff_problems(const cli_verb *verb)
{
    const cli_option *o;
    printf(".SH PROBLEMS\nA problem is written as benchdnn writes it:\n.PP\n.nf\n");
    roff_line(cli_notation);
    printf(".fi\n.PP\n"
           "mb is the batch, g the groups, ic and oc the channels, i and o the sizes of input and output, k the kernel's, s the\n"
           "stride, p the leading pad, d the dilation (0 is none), each for d, h and w. What is missing is deduced. For example\n"
           "mb10ic3ih100oc10kh5ph2. The options of problems hold for those after them, in lists as on the command line:\n");
    for (int i = 0; (o = cli_option_at(verb, i)); i++)
        if (o->of_problems)
            roff_option(o);
}

static const struct {
    const char *name, *text;
} environment[] = {
    { "CONVGEN_STORE", "the store, where --store is not given" },
    { "XDG_CACHE_HOME", "the folder of the store, where CONVGEN_STORE is not set" },
    { "CONVGEN_TARGET", CG_TARGET_LIST ", where --target is not given" },
    { "CONVGEN_TUNED", "a folder with records to look into after the store, in place of the installed ones" },
    { "CONVGEN_TIME_LIMIT", "seconds that one candidate may take in the worker process before it is stopped and refused" },
    { "CONVGEN_GEN_DIR", "for development: a folder with the generator's Lua files, in place of the built-in ones" },
};

static const char examples[] = ".SH EXAMPLES\n.nf\n"
    "convgen tune \\-\\-dt=f64 \\-\\-dir=BWD_D mb10ic3ih100oc10kh5ph2\n"
    "convgen tune \\-\\-batch=net.txt \\-\\-report=net.html\n"
    "convgen emit \\-\\-batch=net.txt \\-o net \\-\\-prefix=net\n.fi\n";

int cli_manual(const cli_verb *const *verbs, int count)
{
    printf(".\\\" Made by `convgen --man` from the tables of --help.\n"
           ".TH CONVGEN 1 \"\" \"convgen %s\" \"User Commands\"\n.SH NAME\nconvgen \\- find the fastest correct convolution for a given problem\n"
           ".SH SYNOPSIS\n", CONVGEN_VERSION);
    for (int i = 0; i < count; i++) {
        printf("%s\\fBconvgen %s\\fR ", i ? ".br\n" : "", verbs[i]->name);
        roff_line(verbs[i]->arguments);
    }
    printf(".SH DESCRIPTION\nA generator writes code for exactly the given problem; it is compiled in memory, checked against an exact result, "
           "timed, and the fastest is remembered.\nResults go to the standard output; sentences about errors, and progress where it is a terminal, to "
           "the standard error.\n.SH VERBS\n`convgen VERB \\-\\-help` prints what stands here. `convgen \\-\\-version` prints the version, "
           "`convgen \\-\\-man` this page, `convgen \\-\\-completion` the completion of bash.\n");
    for (int i = 0; i < count; i++)
        roff_verb(verbs[i]);
    roff_problems(verbs[0]);
    puts(".SH ENVIRONMENT");
    for (size_t i = 0; i < sizeof environment / sizeof environment[0]; i++) {
        printf(".TP\n.B %s\n", environment[i].name);
        roff_line(environment[i].text);
    }
    printf(".SH EXIT STATUS\n");
    roff_line(cli_statuses);
    fputs(examples, stdout);
    return CLI_DONE;
}

/* ---- bash ---- */

static void bash_options(const cli_verb *verb)
{
    const cli_option *o;
    printf("    %s) options='--help", verb->name);
    for (int i = 0; (o = cli_option_at(verb, i)); i++)
        printf(" %s%s", o->name, o->value && o->name[1] == '-' ? "=" : "");
    printf("' words='%s' ;;\n", verb->words ? verb->words : "");
}

static bool is_file(const char *value)
{
    return value && (strcmp(value, "FILE") == 0 || strcmp(value, "DIR") == 0);
}

static void bash_values(const cli_verb *verb)
{
    const cli_option *o;
    for (int i = 0; (o = cli_option_at(verb, i)); i++) {
        if (o->choices)
            printf("    %s:%s) values='%s' ;;\n", verb->name, o->name, o->choices);
        else if (is_file(o->value))
            printf("    %s:%s) kind=file ;;\n", verb->name, o->name);
    }
}

/* '=' breaks words where COMP_WORDBREAKS has it, and does not elsewhere: both are read. */
static const char bash_head[] =
    "# Completion of convgen's command line for bash. Made by `convgen --completion` from the tables of --help.\n\n"
    "_convgen_options() # VERB: sets options, and words that are no options\n{\n    options= words=\n    case $1 in\n";
static const char bash_middle[] =
    "    esac\n}\n\n_convgen_values() # VERB:OPTION: sets values, or kind\n{\n    values= kind=\n    case $1 in\n";
static const char bash_tail[] =
    "\n_convgen()\n{\n"
    "    local verb=${COMP_WORDS[1]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local option= start= options= words= values= kind=\n"
    "    COMPREPLY=()\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        COMPREPLY=($(compgen -W \"$_convgen_verbs --help --version --man --completion\" -- \"$word\"))\n"
    "        return\n"
    "    fi\n"
    "    if [[ $word == '=' ]]; then option=$before word=\n"
    "    elif [[ $before == '=' ]]; then option=${COMP_WORDS[COMP_CWORD-2]}\n"
    "    elif [[ $before == -o ]]; then option=-o\n"
    "    elif [[ $word == --*=* ]]; then option=${word%%=*} start=$option= word=${word#*=}\n"
    "    fi\n"
    "    if [[ -z $option ]]; then\n"
    "        _convgen_options \"$verb\"\n"
    "        COMPREPLY=($(compgen -W \"$options $words\" -- \"$word\"))\n"
    "        [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null\n"
    "        case $verb:$before in records:merge | records:export) kind=file ;; esac\n"
    "    else\n"
    "        _convgen_values \"$verb:$option\"\n"
    "        if [[ $option == --schedule ]]; then values=$(_convgen_schedules) && compopt -o nospace 2>/dev/null; fi\n"
    "        if [[ $verb:$option == emit:--target && $word == *,* ]]; then start=$start${word%,*}, word=${word##*,}; fi\n"
    "        COMPREPLY=($(compgen -P \"$start\" -W \"$values\" -- \"$word\"))\n"
    "    fi\n"
    "    if [[ $kind == file ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        local IFS=$'\\n'\n"
    "        COMPREPLY=($(compgen -P \"$start\" -f -- \"$word\"))\n"
    "    fi\n"
    "}\n\n"
    "# The legal schedules of the problem on the line; before there is one, the families.\n"
    "_convgen_schedules()\n{\n"
    "    local options words word names kept=() line=\"${COMP_WORDS[*]:2} \"\n"
    "    _convgen_options show\n"
    "    for word in ${line// = /=}; do\n"
    "        case $word in\n"
    "        --schedule* | --stage* | =) ;;\n"
    "        -*) [[ \" $options \" != *\" ${word%%=*}= \"* ]] || kept+=(\"$word\") ;;\n"
    "        *) kept+=(\"$word\") ;;\n"
    "        esac\n"
    "    done\n"
    "    names=$(\"${COMP_WORDS[0]}\" show \"${kept[@]}\" --stage=schedules 2>/dev/null | sed -n 's/^ *[0-9][0-9.e+]*  *\\([a-z][^ ]*\\).*/\\1/p')\n"
    "    echo ${names:-$_convgen_families}\n"
    "}\n\n"
    "complete -F _convgen convgen\n";

int cli_completion(const cli_verb *const *verbs, int count)
{
    fputs(bash_head, stdout);
    for (int i = 0; i < count; i++)
        bash_options(verbs[i]);
    fputs(bash_middle, stdout);
    for (int i = 0; i < count; i++)
        bash_values(verbs[i]);
    printf("    esac\n}\n\n_convgen_verbs='");
    for (int i = 0; i < count; i++)
        printf("%s%s", i ? " " : "", verbs[i]->name);
    printf("'\n_convgen_families='%s'\n", CG_FAMILY_WORDS);
    fputs(bash_tail, stdout);
    return CLI_DONE;
}
