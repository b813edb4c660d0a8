/* rates_kept.c: the rates that were measured, kept among the records and taken from there. */
#include "remember/remember.h"
#include <string.h>

/* The rates', and last the bandwidth's. */
enum { FACTS = CG_RATES + 1 };

static void facts_of(const cg_machine *m, cg_fact fact[FACTS])
{
    for (int i = 0; i < FACTS; i++) {
        fact[i] = (cg_fact){.value = i < CG_RATES ? m->rate[i] : m->bandwidth};
        memcpy(fact[i].machine, m->key, sizeof fact[i].machine);
        snprintf(fact[i].name, sizeof fact[i].name, "%s%s", i < CG_RATES ? "rate " : "bandwidth", i < CG_RATES ? cg_rate_rows[i].name : "");
    }
}

bool cg_rates_recall(cg_store *s, cg_machine *m)
{
    cg_fact fact[FACTS];
    facts_of(m, fact);
    if (cg_store_facts(s, fact, FACTS) < FACTS) return false;
    for (int r = 0; r < CG_RATES; r++) m->rate[r] = fact[r].value;
    m->bandwidth = fact[CG_RATES].value;
    cg_rates_check(m->rate);
    return true;
}

cg_status cg_rates_keep(cg_store *s, const cg_machine *m)
{
    cg_fact fact[FACTS];
    facts_of(m, fact);
    return cg_store_put_facts(s, fact, FACTS);
}
