/* verbs.h: the verbs, in the order in which --help lists them. Each is cli_NAME of the file NAME.c. */
VERB(tune)
VERB(bench)
VERB(race)
VERB(check)
VERB(emit)
VERB(show)
VERB(records)
VERB(machine)
