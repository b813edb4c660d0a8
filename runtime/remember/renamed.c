/* renamed.c: a schedule's name as convgen 0.1 wrote it -> as gen/names.lua has it: the schedule is the same, so what is remembered and
 * what people wrote down keep their worth.
 *
 * What is done around a tile stands before it now, and what is of Winograd's products behind it. Other names stay as they are. */
#include "remember/remember.h"
#include <string.h>

enum { ROOM = 4 * CG_NAME };
typedef enum { TILE, AROUND, PRODUCT } place;

/* By family and word, without its number; node: what it became. */
static const struct moved {
    const char *family, *word;
    place place;
    const char *node;
} moved[] = {
    {"direct", "copies", AROUND, "gather"}, {"direct", "panel", AROUND, "panel"}, {"direct", "s", AROUND, "planes"},
    {"winograd", "p", AROUND, "split"},     {"winograd", "r", PRODUCT, NULL},     {"winograd", "v", PRODUCT, NULL},
    {"winograd", "a", PRODUCT, NULL},       {"winograd", "c", PRODUCT, NULL},     {"winograd", "half", PRODUCT, NULL},
    {"winograd", "fuse", PRODUCT, NULL},
};

static bool is(const char *text, size_t length, const char *word) { return strlen(word) == length && !memcmp(text, word, length); }

static const struct moved *row_of(const char *name, const char *word)
{
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
        if (is(name, strcspn(name, "."), moved[i].family) && is(word, strcspn(word, ".0123456789"), moved[i].word)) return &moved[i];
    return NULL;
}

static void add(char text[ROOM], const char *before, const char *word, size_t length)
{
    size_t at = strlen(text);
    snprintf(text + at, ROOM - at, "%s%.*s", before, (int)length, word);
}

void cg_schedule_rename(char name[CG_NAME])
{
    char text[3][ROOM] = {"", "", ""}, all[ROOM];
    if (strchr(name, '/')) return;
    for (const char *word = name, *end; *word; word = end) {
        end = word + 1 + strcspn(word + 1, ".");
        const struct moved *row = *word == '.' ? row_of(name, word + 1) : NULL;
        place to = row ? row->place : TILE;
        bool bare = to == AROUND && is(word + 1, (size_t)(end - word - 1), row->word); /* the node says it */
        add(text[to], to == AROUND ? row->node : "", word, bare ? 0 : (size_t)(end - word));
        if (to == AROUND) add(text[to], "/", "", 0);
    }
    int length = snprintf(all, sizeof all, "%s%s%s%s", text[AROUND], text[TILE], *text[PRODUCT] ? "/product" : "", text[PRODUCT]);
    if (length < CG_NAME) memcpy(name, all, (size_t)length + 1);
}
