/* plot.c: drawings for a page that opens anywhere: SVG without scripts, fonts or colours of its own (those are the page's style).
 *
 * Logarithmic axes, marks, and names that look for a free place. The plotters that are at hand either draw in the reader's browser (scripts, which a
 * page that is mailed or archived had better not have), or are programs and libraries larger than this one (gnuplot, plotutils).
 * Text from outside is escaped. Limit: widths of texts are guessed, in the common sans-serif letters of 12 pixels. */
#include "plot.h"
#include <math.h>
#include <string.h>

enum { FAR = 760 }; /* a taller drawing has its numbers at the top too */

/* ---- text ---- */

static void escaped_part(cg_buffer *b, const char *text, size_t length)
{
    for (; *text && length; text++, length--)
        switch (*text) {
        case '<': cg_buffer_printf(b, "&lt;"); break;
        case '>': cg_buffer_printf(b, "&gt;"); break;
        case '&': cg_buffer_printf(b, "&amp;"); break;
        case '"': cg_buffer_printf(b, "&quot;"); break;
        default: cg_buffer_printf(b, "%c", (unsigned char)*text < ' ' ? '?' : *text);
        }
}

void plot_escaped(cg_buffer *b, const char *text)
{
    escaped_part(b, text, strlen(text));
}

/* At the borders of its characters. */
void plot_shortened(cg_buffer *b, const char *text, size_t most)
{
    size_t n = strlen(text), first = most / 2, last = n - (most - first - 1);
    if (n <= most) {
        plot_escaped(b, text);
        return;
    }
    while (first > 0 && ((unsigned char)text[first] & 0xC0) == 0x80)
        first--;
    while (text[last] && ((unsigned char)text[last] & 0xC0) == 0x80)
        last++;
    escaped_part(b, text, first);
    cg_buffer_printf(b, "&#8230;");
    plot_escaped(b, text + last);
}

void plot_text_at(cg_buffer *b, double x, double y, const char *anchor, const char *text)
{
    cg_buffer_printf(b, "<text x='%.1f' y='%.1f' text-anchor='%s'>", x, y, anchor);
    plot_escaped(b, text);
    cg_buffer_printf(b, "</text>");
}

/* ---- scales ---- */

double plot_place(const plot_axis *a, double value)
{
    return a->from + (a->to - a->from) * log(value / a->low) / log(a->high / a->low);
}

plot_axis plot_axis_around(double least, double most, double from, double to)
{
    if (!(least > 0) || !isfinite(most))
        least = 1, most = 10;
    plot_axis a = { pow(10, floor(log10(least * 0.999))), pow(10, ceil(log10(most * 1.001))), from, to };
    return a;
}

static void tick(char text[24], double value, bool times)
{
    if (times)
        cli_time_text(text, value);
    else
        snprintf(text, 24, "%g", value);
}

void plot_decades_across(cg_buffer *b, const plot_axis *x, double top, double bottom, bool times)
{
    for (double v = x->low; v <= x->high * 1.001; v *= 10) {
        char text[24];
        tick(text, v, times);
        cg_buffer_printf(b, "<line class=g x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", plot_place(x, v), top, plot_place(x, v), bottom);
        plot_text_at(b, plot_place(x, v), bottom + 15, "middle", text);
        if (bottom - top > FAR)
            plot_text_at(b, plot_place(x, v), top - 4, "middle", text);
    }
}

void plot_decades_up(cg_buffer *b, const plot_axis *y, double left, double right, bool times)
{
    for (double v = y->low; v <= y->high * 1.001; v *= 10) {
        char text[24];
        tick(text, v, times);
        cg_buffer_printf(b, "<line class=g x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", left, plot_place(y, v), right, plot_place(y, v));
        plot_text_at(b, left - 6, plot_place(y, v) + 4, "end", text);
    }
}

/* ---- names and numbers where they cover nothing ---- */

static bool take(plot_spots *taken, plot_spot s)
{
    for (int i = 0; i < taken->count; i++) {
        const plot_spot *t = &taken->at[i];
        if (fabs(t->x - s.x) < t->half_width + s.half_width && fabs(t->y - s.y) < t->half_height + s.half_height)
            return false;
    }
    taken->at[taken->count++] = s;
    return true;
}

void plot_name_line(cg_buffer *b, const plot_axis *x, const plot_axis *y, double at, const char *name, plot_spots *taken)
{
    double half = 3.4 * (double)strlen(name), right = x->to - 4 - half; /* of 12 pixels, and narrow letters */
    const plot_spot last = { right, plot_place(y, at) - 9, half, 8 };
    for (int i = 0; i < 80; i++) {
        plot_spot s = { right - 8 * (i / 2), plot_place(y, at) + (i % 2 ? 10 : -9), half, 8 };
        bool inside = s.x - half > x->from && s.y < y->from - 8 && s.y > y->to + 8;
        if (!inside || !take(taken, s))
            continue;
        plot_text_at(b, s.x, s.y + 4, "middle", name);
        return;
    }
    taken->at[taken->count++] = last;
    plot_text_at(b, last.x, last.y + 4, "middle", name);
}

void plot_number_dot(cg_buffer *b, int number, double x, double y, plot_spots *taken)
{
    static const int corners[4][2] = { { 1, -1 }, { -1, -1 }, { 1, 1 }, { -1, 1 } };
    double half = number < 10 ? 4 : number < 100 ? 7.5 : 11;
    for (int i = 0; i < 4; i++) {
        plot_spot s = { x + corners[i][0] * (6 + half), y + corners[i][1] * 8, half, 5 };
        if (!take(taken, s))
            continue;
        cg_buffer_printf(b, "<text class=s x='%.1f' y='%.1f' text-anchor='middle'>%d</text>", s.x, s.y + 4, number);
        return;
    }
}
